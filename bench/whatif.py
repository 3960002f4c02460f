"""How often the what-if's 95 % interval holds the truth, on simulated months where it is known.

    python -m bench.whatif [--months 1000] [--tickets 3000] [--seed 1]

Each month draws tickets of two classes, routes them by one of three policies, with costs that are skewed and ratings on three
tickets in ten, more often on the poor arm; then asks for another split. The truth is the expectation over the draw, known from the
formula that made the month. Of the policies that ran, one draws by class, one by what it thinks of each ticket, which its
quality does depend on, and one is nearly certain, so that the log often cannot tell and has to say so.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from router.whatif import Answer, CannotTell, Routed, by_class, evaluate, fixed

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
HARD_TICKETS = 0.24  # quality from the easiest to the hardest ticket of a class, on either arm
# What the policy that ran drew: the premium arm's share for a ticket of a class and hardness, 0..1.
RAN: dict[str, Callable[[str, float], float]] = {
    "by class": lambda kind, _: 0.75 if kind == "complex" else 0.15,
    "by ticket": lambda kind, hard: (0.15 if kind == "complex" else 0.05) + 0.75 * hard,
    "nearly certain": lambda kind, _: 0.96 if kind == "complex" else 0.04,
}
ASKED = {
    "fixed:0.5": (fixed({"standard": 0.5, "premium": 0.5}), {"simple": 0.5, "complex": 0.5}),
    "fixed:0.2": (fixed({"standard": 0.8, "premium": 0.2}), {"simple": 0.2, "complex": 0.2}),
    "label": (by_class({"simple": "standard", "complex": "premium"}), {"simple": 0.0, "complex": 1.0}),
}
ESTIMATES = ("cost, self-normalised", "cost, doubly robust", "quality, self-normalised", "quality, doubly robust")


def month(ran: str, tickets: int, draw: random.Random) -> list[Routed]:
    """One logged month of a policy that ran."""
    log = []
    for _ in range(tickets):
        kind = "complex" if draw.random() < COMPLEX else "simple"
        hard = draw.random()
        share = RAN[ran](kind, hard)
        arm = "premium" if draw.random() < share else "standard"
        cost = MEAN_COST_USD[arm, kind] * math.exp(draw.gauss(0.0, COST_SIGMA) - 0.5 * COST_SIGMA**2)
        quality = QUALITY[arm, kind] + HARD_TICKETS * (0.5 - hard)
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


class Coverage(NamedTuple):
    """Of the months asked about, those answered and those whose interval holds the truth."""

    answered: int
    held: int

    @property
    def share(self) -> float:
        """Of those answered."""
        return self.held / self.answered if self.answered else math.nan

    @property
    def is_within(self) -> bool:
        """From 92 to 98 %, or three deviations of so few months beyond."""
        error = math.sqrt(0.95 * 0.05 / self.answered) if self.answered else math.inf
        return self.answered < 50 or 0.95 - max(0.03, 3.0 * error) <= self.share <= 0.95 + max(0.03, 3.0 * error)


def coverage(months: int, tickets: int, seed: int) -> dict[tuple[str, str, str], Coverage]:
    """Months answered and held, by the policy that ran, the one asked for, and estimator."""
    draw = random.Random(seed)
    found: dict[tuple[str, str, str], Coverage] = {}
    for ran in RAN:
        for _ in range(months):
            log = month(ran, tickets, draw)
            for asked, (target, _shares) in ASKED.items():
                for name in ESTIMATES:
                    found.setdefault((ran, asked, name), Coverage(0, 0))
                try:
                    answer = evaluate(log, target)
                except CannotTell:
                    continue
                for name, low, high, true in _intervals(answer, truth(asked)):
                    answered, held = found[ran, asked, name]
                    found[ran, asked, name] = Coverage(answered + 1, held + (low <= true <= high))
    return found


def _intervals(answer: Answer, true: tuple[float, float]) -> list[tuple[str, float, float, float]]:
    cost, quality = true
    found = [
        (answer.cost_snips, cost),
        (answer.cost_robust, cost),
        (answer.quality_snips, quality),
        (answer.quality_robust, quality),
    ]
    return [
        (name, estimate.low, estimate.high, value)
        for name, (estimate, value) in zip(ESTIMATES, found, strict=True)
        if estimate is not None
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; exit code 1 when a coverage leaves 92 to 98 % by more than chance."""
    parser = argparse.ArgumentParser(prog="bench.whatif", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--months", type=int, default=1000)
    parser.add_argument("--tickets", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    found = coverage(args.months, args.tickets, args.seed)
    print(f"{args.months} months each: one deviation of 95 % is {math.sqrt(0.95 * 0.05 / args.months):.1%}")
    print("| ran | asked | estimate | answered | 95 % interval holds the truth |\n|---|---|---|--:|--:|")
    for (ran, asked, name), cell in found.items():
        held = f"{cell.share:.1%}" if cell.answered else "-"
        print(f"| {ran} | {asked} | {name} | {cell.answered / args.months:.0%} | {held} |")
    return 0 if all(cell.is_within for cell in found.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
