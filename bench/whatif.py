"""How often the what-if's 95 % interval holds the truth, on simulated months where it is known.

    python -m bench.whatif [--months 1000] [--tickets 3000] [--seed 1]

Each month draws tickets of two classes, routes them by a policy that depends on the class, with costs that are
skewed and ratings on three tickets in ten, more often on the poor arm; then asks for another split. The truth is the
expectation over the draw, known from the formula that made the month.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Sequence

from router.whatif import Answer, Routed, by_class, evaluate, fixed

COMPLEX = 0.35
QUALITY = {
    ("standard", "simple"): 0.80,
    ("standard", "complex"): 0.55,
    ("premium", "simple"): 0.86,
    ("premium", "complex"): 0.80,
}
MEAN_COST_USD = {
    ("standard", "simple"): 0.004,
    ("standard", "complex"): 0.007,
    ("premium", "simple"): 0.016,
    ("premium", "complex"): 0.027,
}
COST_SIGMA = 0.6  # of the logarithm: a reply's length
RATED = {"standard": 0.33, "premium": 0.27}
LOGGED_PREMIUM = {"simple": 0.15, "complex": 0.75}  # what the policy that ran drew
ASKED = {
    "fixed:0.5": (fixed({"standard": 0.5, "premium": 0.5}), {"simple": 0.5, "complex": 0.5}),
    "fixed:0.2": (fixed({"standard": 0.8, "premium": 0.2}), {"simple": 0.2, "complex": 0.2}),
    "label": (by_class({"simple": "standard", "complex": "premium"}), {"simple": 0.0, "complex": 1.0}),
}


def month(tickets: int, draw: random.Random) -> list[Routed]:
    """One logged month."""
    log = []
    for _ in range(tickets):
        kind = "complex" if draw.random() < COMPLEX else "simple"
        share = LOGGED_PREMIUM[kind]
        arm = "premium" if draw.random() < share else "standard"
        cost = MEAN_COST_USD[arm, kind] * math.exp(draw.gauss(0.0, COST_SIGMA) - 0.5 * COST_SIGMA**2)
        quality = QUALITY[arm, kind]
        rating = draw.betavariate(quality * 3.0, (1.0 - quality) * 3.0) if draw.random() < RATED[arm] else None
        log.append(
            Routed(
                arm=arm,
                propensity=share if arm == "premium" else 1.0 - share,
                ticket_class=kind,
                cost_usd=cost,
                quality=rating,
            )
        )
    return log


def truth(asked: str) -> tuple[float, float]:
    """Expected cost and quality a ticket of an asked policy."""
    cost = quality = 0.0
    for kind, weight in (("simple", 1.0 - COMPLEX), ("complex", COMPLEX)):
        premium = ASKED[asked][1][kind]
        for arm, share in (("premium", premium), ("standard", 1.0 - premium)):
            cost += weight * share * MEAN_COST_USD[arm, kind]
            quality += weight * share * QUALITY[arm, kind]
    return cost, quality


def coverage(months: int, tickets: int, seed: int) -> dict[tuple[str, str], float]:
    """Share of months whose interval holds the truth, by asked policy and estimator."""
    draw = random.Random(seed)
    held: dict[tuple[str, str], int] = {}
    for _ in range(months):
        log = month(tickets, draw)
        for asked, (target, _shares) in ASKED.items():
            answer = evaluate(log, target)
            for name, low, high, true in _intervals(answer, truth(asked)):
                held[asked, name] = held.get((asked, name), 0) + (low <= true <= high)
    return {cell: count / months for cell, count in held.items()}


def _intervals(answer: Answer, true: tuple[float, float]) -> list[tuple[str, float, float, float]]:
    cost, quality = true
    found = [
        ("cost, self-normalised", answer.cost_snips, cost),
        ("cost, doubly robust", answer.cost_robust, cost),
        ("quality, self-normalised", answer.quality_snips, quality),
        ("quality, doubly robust", answer.quality_robust, quality),
    ]
    return [(name, estimate.low, estimate.high, value) for name, estimate, value in found if estimate is not None]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; exit code 1 when a coverage leaves 92 to 98 %."""
    parser = argparse.ArgumentParser(prog="bench.whatif", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--months", type=int, default=1000)
    parser.add_argument("--tickets", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    found = coverage(args.months, args.tickets, args.seed)
    print("| asked | estimate | 95 % interval holds the truth |\n|---|---|--:|")
    for (asked, name), share in found.items():
        print(f"| {asked} | {name} | {share:.1%} |")
    return 0 if all(0.92 <= share <= 0.98 for share in found.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
