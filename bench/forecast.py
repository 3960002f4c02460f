"""How often the month really ends inside the 80 % interval of `halfpenny forecast`, on recorded arrivals.

    python -m bench.forecast [--seeds 3]

The recorded months of arrivals.py: 25 days of history, then the month, asked on seven mornings of it. A ticket's cost is
drawn beside its arrival: a third are dear ones, replies differ in length. Three clients: 10,000 tickets a month, 600, and 10,000
in a first month without any history or plan. Exit code 1 when a client's coverage leaves 70 to 90 %.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench import arrivals
from router import aggregates, costs, forecast
from router.aggregates import UNCAPPED_USD, PolicyConfig
from router.costs import ArmPrice
from router.month_end import month_end

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "routing"
START = datetime(2026, 6, 1, tzinfo=UTC)
MONTH_DAYS = 30
ASKED_ON = (1, 3, 6, 10, 15, 20, 25)  # mornings after so many days
Ticket = tuple[float, float]  # seconds from the month's start, USD


def held(history: Sequence[Ticket], month: Sequence[Ticket], asked_on: Sequence[int] = ASKED_ON) -> list[bool]:
    """Whether each morning's interval holds what the month costs in the end. Seconds from the start; history's are negative."""
    config = PolicyConfig(arms=("standard",), class_arms=(("simple", "standard"), ("complex", "standard")))
    price = ArmPrice(0.4, 2.0)
    state = aggregates.new_state(config, {"standard": price})
    begin = START.timestamp()
    for second, usd in history:
        forecast.arrived(state.volume, begin + second)
        costs.settled(state.costs["standard"], 1000.0, 400.0, usd, price)
    aggregates.period_opened(state, START, START + timedelta(days=MONTH_DAYS), UNCAPPED_USD)
    total = math.fsum(usd for _, usd in month)
    found, spent, k = [], 0.0, 0
    for day in asked_on:
        now = day * forecast.DAY_S
        while k < len(month) and month[k][0] < now:
            forecast.arrived(state.volume, begin + month[k][0])
            spent += month[k][1]
            k += 1
        asked = month_end(state, begin + now, spent)
        found.append(asked.low_usd <= total <= asked.high_usd)
    return found


def drawn(rates: Sequence[Sequence[float]], draw: random.Random) -> Iterator[float]:
    """Moments in seconds from the first day, of Poisson arrivals with these expected counts: a row a day, of equal slots."""
    for day, row in enumerate(rates):
        width = forecast.DAY_S / len(row)
        for slot, rate in enumerate(row):
            at = draw.expovariate(rate) if rate > 0.0 else math.inf
            while at < 1.0:
                yield day * forecast.DAY_S + (slot + at) * width
                at += draw.expovariate(rate)


def costed(moments: Iterable[float], draw: random.Random) -> list[Ticket]:
    """A third of tickets four times as dear, replies of lengths that differ by e^0.6."""
    return [(at, (0.02 if draw.random() < 0.35 else 0.005) * math.exp(draw.gauss(0.0, 0.6))) for at in moments]


def coverage(series: dict[str, arrivals.Days], tickets: float, seed: int, *, is_first: bool) -> dict[str, list[bool]]:
    """Each series' answers for a client of so many tickets a month."""
    found = {}
    for name, days in series.items():
        draw = random.Random(f"{seed} {name} {tickets}")
        past = days[: arrivals.LOG_DAYS]
        scale = tickets / MONTH_DAYS / (sum(map(sum, past)) / len(past))
        since = arrivals.LOG_DAYS * forecast.DAY_S
        moments = drawn([[count * scale for count in day] for day in days], draw)
        tickets_of = costed((at - since for at in moments), draw)
        history = [] if is_first else [ticket for ticket in tickets_of if ticket[0] < 0.0]
        found[name] = held(history, [ticket for ticket in tickets_of if ticket[0] >= 0.0])
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Print the shares by morning; exit code 1 when one client's leaves 70 to 90 %."""
    parser = argparse.ArgumentParser(prog="bench.forecast", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args(argv)
    series = arrivals.months(DATA)
    print(f"{len(series)} series, {args.seeds} seeds each; the month ends inside the 80 % interval")
    print(
        "| client | " + " | ".join(f"day {day}" for day in ASKED_ON) + " | all |\n|---|" + "--:|" * (len(ASKED_ON) + 1)
    )
    good = True
    for client, tickets, is_first in (
        ("10,000 a month", 1e4, False),
        ("600", 600.0, False),
        ("first month", 1e4, True),
    ):
        answers = [a for s in range(args.seeds) for a in coverage(series, tickets, s, is_first=is_first).values()]
        shares = [sum(column) / len(answers) for column in zip(*answers, strict=True)]
        everything = sum(shares) / len(shares)
        good = good and 0.70 <= everything <= 0.90
        print(f"| {client} | " + " | ".join(f"{share:.0%}" for share in [*shares, everything]) + " |", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
