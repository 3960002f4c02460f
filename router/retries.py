"""When an attempt that failed is made again, within the call's deadline: where the provider surely did not process it, or
where its connection was lost, and then that attempt stays charged at its hold.
"""

from __future__ import annotations

from collections.abc import Mapping

from ledger.events import Outcome
from router import settlement
from router.errors import HttpError, Unreachable, UpstreamBroken, UpstreamError, UpstreamTimeout
from router.event_stream import StreamScan
from router.provider_config import Provider
from router.upstream import NoAnswer

RETRIED = frozenset((429, 503, 529))  # the provider says: later; nothing was processed


class CallFailed(Exception):
    """One attempt that came to nothing and has been recorded so. Units: seconds."""

    def __init__(self, error: HttpError, *, may_retry: bool = False, retry_after_s: float | None = None) -> None:
        super().__init__(str(error))
        self.error, self.may_retry, self.retry_after_s = error, may_retry, retry_after_s


def wait_s(failed: CallFailed, number: int, provider: Provider, *, left_s: float, chance: float) -> float | None:
    """Seconds until the next attempt; None when there is none, as when the deadline would be over by then.

    Units: `number` attempts were made; `left_s` is what is left of the call's deadline; `chance` 0..1 spreads the waits.
    """
    if not failed.may_retry or number > provider.retries:
        return None
    if failed.retry_after_s is not None:
        return failed.retry_after_s if failed.retry_after_s <= min(provider.retry_after_at_most_s, left_s) else None
    wait = provider.retry_base_s * 2.0 ** (number - 1) * (0.5 + chance)
    return wait if wait < left_s else None


def is_the_providers(failed: CallFailed) -> bool:
    """Whether a failure speaks of the provider's state: not of a request it refused, nor of our key."""
    return failed.error.status >= 500 and failed.error.code != "provider_key_refused"


def error_of(lost: NoAnswer, provider: str) -> UpstreamError:
    """What a client is told of an answer that did not come, or not whole."""
    if lost.is_timeout:
        return UpstreamTimeout(provider)
    if lost.error_type == "connection_lost":
        return Unreachable(provider, str(lost))
    return UpstreamBroken(provider, str(lost))


def stream_error(scan: StreamScan, lost: NoAnswer | None, provider: str) -> UpstreamError:
    """What a client is told of a stream that is not whole."""
    if lost is not None:
        return error_of(lost, provider)
    why = "it reported an error inside the stream" if scan.error is not None else "the stream ended before its end mark"
    return UpstreamBroken(provider, why)


def outcome_of(lost: NoAnswer) -> Outcome:
    """How an attempt ended whose answer did not come, or not whole."""
    if lost.is_timeout:
        return "timeout"
    return "upstream_truncated" if lost.error_type in ("reply_cut", "no_end") else "error"


def asked_wait_s(headers: Mapping[str, str]) -> float | None:
    """The wait a provider asks for. Shapes: retry-after-ms wins over retry-after; a date is not read and means unknown."""
    millis = seconds_in(headers.get("retry-after-ms"))
    return seconds_in(headers.get("retry-after")) if millis is None else millis / 1000


def seconds_in(said: str | None) -> float | None:
    """A number of seconds in a header, if it is one that can be."""
    try:
        found = float(said) if said is not None else None
    except ValueError:
        return None
    return found if found is not None and 0 <= found <= settlement.SECONDS_AT_MOST else None
