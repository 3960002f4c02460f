"""Each constant of the pacing policy halved and doubled: what that does to the gain, and why it is what it is.

    python -m bench.router_sensitivity [--months 5] [--only RESERVE_Z,...] [--development]

Plays the held-out pools and arrivals of held_out.py (or the benchmark's own), month k with pool k, base and spike; every setting
plays the same months, so differences of a thousandth mean something. Needs the environment of `make bench-router`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from bench import held_out
from bench.router import benchmark
from bench.router_policy import SET, BudgetMonthPolicy, Constants
from router import aggregates, costs, forecast, gains

# (module, name, why it is what it is)
REASONS = (
    (forecast, "LEVEL_DAYS", "days vary by half, the level drifts by half of that: (1 / 0.5)^2"),
    (forecast, "BURST_DAYS", "successive days of contact volume correlate by a third, exp(-1)"),
    (forecast, "BURST_PRIOR_DAYS", "minutes are not a burst, half a day is"),
    (forecast, "PRIOR_WEEKS", "one week of all days alike against three or four seen"),
    (forecast, "DAY_SIGMA", "days vary by about half before any is measured"),
    (forecast, "DAY_SIGMA_DAYS", "a working week of measured days outweighs that guess"),
    (aggregates, "CONTINGENCY_SHARE", "three days' worth a month that no history foretells"),
    (aggregates, "RESERVE_Z", "the volume five months in six do not exceed"),
    (aggregates, "REFRESH_S", "an hour hardly changes the curve"),
    (aggregates, "WINDOW_TICKETS", "the cut is known to 1.6 % of the tickets"),
    (aggregates, "COLD_RATINGS", "an arm's mean is known to about 0.1"),
    (gains, "PRIOR_SD", "a deviation of the score moves quality by 0.3, an e-fold prompt by 0.05"),
    (gains, "MEMORY_RATINGS", "a month of ratings at one ticket in five"),
    (gains, "CUSUM_SLACK", "half the shift worth seeing, half a deviation"),
    (gains, "CUSUM_BAND", "skewed ratings raise no alarm in a year"),
    (gains, "SHIFT_SD", "after an alarm the level is anywhere within half the scale"),
    (costs, "MEMORY_CALLS", "a week of one arm's calls"),
    (costs, "PRIOR_CALLS", "twenty calls tell more than a guess"),
)


class Reached(NamedTuple):
    """Means over the months of one setting: gains as ratios, brownouts in percent."""

    base: float
    spike: float
    brownouts: float

    def __str__(self) -> str:
        return f"{self.base:.4f} / {self.spike:.4f} ({self.brownouts:.2f})"


def scaled(module: Any, name: str, factor: float) -> Constants:
    """One constant times a factor, and those that follow from it."""
    value = SET[module, name]
    if isinstance(value, tuple):  # the level's own is as good as free
        changed: Any = (value[0], *(part * factor for part in value[1:]))
    else:
        changed = type(value)(value * factor)
    found: dict[Any, Any] = {(module, name): changed}
    days = {one: found.get((forecast, one), SET[forecast, one]) for one in ("BURST_DAYS", "LEVEL_DAYS")}
    if name in days:
        keep = math.exp(-1.0 / days["BURST_DAYS"])
        found[forecast, "CORRELATED_DAYS"] = (1.0 + keep) / (1.0 - keep)
        found[forecast, "PRIOR_DAYS"] = days["LEVEL_DAYS"] * found[forecast, "CORRELATED_DAYS"]
    return found


def reached(months: dict[str, list[Any]], play: Any, constants: Constants) -> Reached:
    """One setting through all months."""
    ratios, brownouts, tickets = [], 0, 0
    for played in months.values():
        outcomes = [play(month, BudgetMonthPolicy(constants)) for month in played]
        ratios.append(sum(o.gain / o.optimum for o in outcomes) / len(outcomes))
        brownouts += sum(o.brownouts for o in outcomes)
        tickets += sum(o.tickets for o in outcomes)
    return Reached(ratios[0], ratios[1], 100.0 * brownouts / tickets)


def lines(months: dict[str, list[Any]], play: Any, only: Sequence[str]) -> Iterator[str]:
    """The table in Markdown, a line as soon as it is known."""
    as_it_is = reached(months, play, {})
    yield f"as it is: {as_it_is}; below: gain base / spike (brownouts %)\n"
    yield "| constant | value | chosen because | halved | doubled |\n|---|--:|---|--:|--:|"
    for module, name, reason in REASONS:
        if only and name not in only:
            continue
        half, double = (reached(months, play, scaled(module, name, factor)) for factor in (0.5, 2.0))
        value = SET[module, name]
        shown = "/".join(f"{part:g}" for part in value) if isinstance(value, tuple) else f"{value:g}"
        yield f"| `{name}` | {shown} | {reason} | {half} | {double} |"


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, play, print."""
    parser = argparse.ArgumentParser(prog="bench.router_sensitivity", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--months", type=int, default=5)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", default="", help="comma-separated names of constants; absent: all")
    parser.add_argument("--development", action="store_true", help="the benchmark's own pools and arrivals")
    args = parser.parse_args(argv)
    month, run = benchmark()
    data = run.DATA.resolve()
    if not args.development:
        held_out.replace(month, data)
    pools = list(month.POOLS)
    months = {
        scenario: [month.make_month(data, pools[k % len(pools)], scenario, k, args.seed) for k in range(args.months)]
        for scenario in ("base", "spike")
    }
    for line in lines(months, month.play, [name for name in args.only.split(",") if name]):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
