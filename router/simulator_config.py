"""Settings of the simulated provider, and the names of its faults."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from router.simulation import MODELS, FaultRule

FAULTS = (
    "429", "500", "hang", "timeout", "cut_stream", "no_usage", "zero_usage", "liar_usage", "wrong_model",
    "malformed_json", "slow_drip",
)  # fmt: skip

MAX_BODY_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorConfig:
    """Settings of one simulated provider.

    Shapes: port 0 takes a free one; log None keeps no books; faults in the order they are tried.
    Units: seconds for late_s (fault timeout), hang_s (fault hang, at most), drip_s (fault slow_drip, between bytes).
    """

    host: str = "127.0.0.1"
    port: int = 0
    log: Path | None = None
    seed: int = 7
    mode: Literal["fast", "real"] = "fast"
    # Fifteen words are about twenty tokens.
    chunk_words: int = 15
    faults: tuple[FaultRule, ...] = ()
    late_s: float = 600.0
    hang_s: float = 3_600.0
    drip_s: float = 0.3
    max_body_bytes: int = MAX_BODY_BYTES


def parse_fault(text: str) -> FaultRule:
    """`NAME=SHARE` or `NAME=SHARE@MODEL`, as on the command line.

    Errors: ValueError with the sentence to show.
    """
    name, _, rest = text.partition("=")
    share_text, _, model = rest.partition("@")
    try:
        share = float(share_text)
    except ValueError:
        share = -1.0
    if name not in FAULTS or not 0 <= share <= 1 or (model and model not in MODELS):
        raise ValueError(
            f"{text!r} is no fault. Expected NAME=SHARE or NAME=SHARE@MODEL with a share from 0 to 1 and a name of: "
            f"{', '.join(FAULTS)}."
        )
    return FaultRule(fault=name, share=share, model=model or None)
