"""`make bench-router`: our pacing policy in the budget-month benchmark, beside the baselines.

Drives ../shared/bench/budget_month/run.py, found beside the repository, with `router.policy` through
`router_policy`; static, label and pid play the same months, and paretobandit too where it is installed. Prints
the benchmark's own table and summary, then our figures beside those wanted. Exit code 1 when a figure
that must be reached is not.

    python bench/router.py --quick        five months of base and spike
    python bench/router.py --months 10    every pool and scenario
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
BENCHMARK = REPOSITORY.parent / "shared" / "bench" / "budget_month"
OURS = "router_policy:make_policy"
PARETOBANDIT = "baselines:paretobandit"
BASELINES = ("static", "label", "pid")

# (figure, must, goal): gains are means over the pools and at least this, brownouts in percent and at most this.
WANTED = (
    ("gain base", 0.958, 0.978),
    ("gain spike", 0.935, 0.965),
    ("brownouts base %", 0.2, 0.1),
    ("brownouts spike %", 0.5, 0.1),
    ("worst cell but quality_drop", 0.90, 0.90),
    ("arena quality_drop", 0.878, 0.878),
    ("decide p50 us", 50.0, 50.0),
    ("decide p99 us", 1000.0, 1000.0),
)


def figures(rows: Sequence[tuple[str, str, str, Any]]) -> dict[str, float]:
    """The wanted figures out of the benchmark's rows (pool, scenario, policy, metrics); those not played are absent."""
    ours = [(pool, scenario, metrics) for pool, scenario, policy, metrics in rows if policy == OURS]
    found: dict[str, float] = {}
    for scenario in ("base", "spike"):
        cells = [m for _, s, m in ours if s == scenario]
        if cells:
            found[f"gain {scenario}"] = sum(m.gain_ratio for m in cells) / len(cells)
            found[f"brownouts {scenario} %"] = sum(m.brownouts_pct for m in cells) / len(cells)
    if others := [m.gain_ratio for _, s, m in ours if s != "quality_drop"]:
        found["worst cell but quality_drop"] = min(others)
    if drop := [m.gain_ratio for p, s, m in ours if (p, s) == ("arena", "quality_drop")]:
        found["arena quality_drop"] = drop[0]
    if ours:
        found["decide p50 us"] = max(m.decide_p50_us for _, _, m in ours)
        found["decide p99 us"] = max(m.decide_p99_us for _, _, m in ours)
    return found


def verdict(found: dict[str, float]) -> tuple[str, bool]:
    """A Markdown table of figure, must, goal and reached, and whether every must is met."""
    lines, met = ["| figure | must | goal | reached | |", "|---|--:|--:|--:|---|"], True
    for figure, must, goal in WANTED:
        if figure not in found:
            continue
        value, at_most = found[figure], "%" in figure or figure.endswith("us")
        good = [value <= bound if at_most else round(value, 3) >= bound for bound in (must, goal)]
        met = met and good[0]
        word = "goal" if good[1] else "must" if good[0] else "missed"
        lines.append(f"| {figure} | {must:g} | {goal:g} | {value:.3f} | {word} |")
    return "\n".join(lines), met


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, play, print."""
    parser = argparse.ArgumentParser(prog="bench/router.py", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--months", type=int, default=10, help="a multiple of 5 uses each arrival series equally")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pool", default="all", help="comma-separated names, or all")
    parser.add_argument("--scenario", default="all", help="comma-separated names, or all")
    parser.add_argument("--quick", action="store_true", help="5 months of base and spike")
    args = parser.parse_args(argv)
    if not BENCHMARK.is_dir():
        print(f"{BENCHMARK} is not there; the benchmark is expected beside the repository", file=sys.stderr)
        return 2

    # the repository comes first: this file is called router too, and its folder is on the path already
    sys.path[:0] = [str(REPOSITORY), str(BENCHMARK), str(REPOSITORY / "bench")]
    month, run = importlib.import_module("budget_month"), importlib.import_module("run")
    pools = list(month.POOLS) if args.pool == "all" else args.pool.split(",")
    scenarios = list(month.SCENARIOS) if args.scenario == "all" else args.scenario.split(",")
    months = args.months
    if args.quick:
        scenarios, months = ["base", "spike"], 5
    policies = {name: month.fresh(run.BASELINES[name]) for name in BASELINES}
    specs = [OURS] + ([PARETOBANDIT] if importlib.util.find_spec("pareto_bandit") else [])
    policies |= {spec: month.fresh(run.load_factory(spec)) for spec in specs}
    rows = run.run(policies, run.DATA.resolve(), pools, scenarios, months, args.seed)
    print(run.table(rows), run.summary(rows), sep="\n\n")
    if PARETOBANDIT not in specs:
        print("\nparetobandit is not installed; it was left out.")
    text, met = verdict(figures(rows))
    print("\n" + text)
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
