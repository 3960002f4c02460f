"""`make bench-router`: our pacing policy in the budget-month benchmark, beside the baselines.

Drives ../shared/bench/budget_month/run.py, found beside the repository, with `router.policy` through
`router_policy`; static, label, pid and the paretobandit package play the same months, and so does our policy told
every arrival beforehand, the ceiling. Prints the benchmark's own table and summary, the means by scenario, then our figures
beside those wanted. Exit code 1 when a figure that must be reached is not. numpy and paretobandit are in an
environment of their own (bench/router.txt), since nothing else needs them.

    python -m bench.router --quick        five months of base and spike
    python -m bench.router --held-out     other pairs of models, other months of arrivals
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bench import held_out, router_policy

REPOSITORY = Path(__file__).resolve().parents[1]
BENCHMARK = REPOSITORY.parent / "shared" / "bench" / "budget_month"
OURS = "ours"
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


def figures(rows: Sequence[tuple[str, str, str, Any]], policy: str = OURS) -> dict[str, float]:
    """The wanted figures of a policy out of the benchmark's rows (pool, scenario, policy, metrics); those not played are absent."""
    ours = [(pool, scenario, metrics) for pool, scenario, name, metrics in rows if name == policy]
    found: dict[str, float] = {}
    for scenario in ("base", "spike"):
        cells = [m for _, s, m in ours if s == scenario]
        if cells:
            found[f"gain {scenario}"] = sum(m.gain_ratio for m in cells) / len(cells)
            found[f"net gain {scenario}"] = sum(m.net_gain_ratio for m in cells) / len(cells)
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
    """A Markdown table of figure, reached, must and goal with whether each is met, and whether every must is."""
    lines, met = ["| figure | reached | must | | goal | |", "|---|--:|--:|---|--:|---|"], True
    for figure, must, goal in WANTED:
        if figure not in found:
            continue
        value, at_most = found[figure], "%" in figure or figure.endswith("us")
        good = [value <= bound if at_most else round(value, 3) >= bound for bound in (must, goal)]
        met = met and good[0]
        words = ["met" if reached else "missed" for reached in good]
        lines.append(f"| {figure} | {value:.3f} | {must:g} | {words[0]} | {goal:g} | {words[1]} |")
    return "\n".join(lines), met


def grid(rows: Sequence[tuple[str, str, str, Any]]) -> str:
    """Markdown: a line per scenario, a column per policy; gain / net gain (brownouts %), each the mean over the pools played."""
    policies = list(dict.fromkeys(name for _, _, name, _ in rows))
    lines = ["| scenario | " + " | ".join(policies) + " |", "|---|" + "--:|" * len(policies)]
    for scenario in dict.fromkeys(s for _, s, _, _ in rows):
        cells = []
        for policy in policies:
            mine = [m for _, s, name, m in rows if (s, name) == (scenario, policy)]
            if not mine:
                cells.append("-")
                continue
            means = [
                sum(getattr(m, column) for m in mine) / len(mine)
                for column in ("gain_ratio", "net_gain_ratio", "brownouts_pct")
            ]
            cells.append("{:.3f} / {:.3f} ({:.2f})".format(*means))
        lines.append(f"| {scenario} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def benchmark() -> tuple[Any, Any]:
    """The benchmark's modules `budget_month` and `run`. Errors: ModuleNotFoundError where it is not beside the repository."""
    sys.path.insert(0, str(BENCHMARK))
    return importlib.import_module("budget_month"), importlib.import_module("run")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, play, print."""
    parser = argparse.ArgumentParser(prog="bench/router.py", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--months", type=int, default=5, help="a multiple of 5 uses each arrival series equally")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pool", default="all", help="comma-separated names, or all")
    parser.add_argument("--scenario", default="all", help="comma-separated names, or all")
    parser.add_argument("--quick", action="store_true", help="5 months of base and spike")
    parser.add_argument("--held-out", action="store_true", help="other pairs of models, other months of arrivals")
    parser.add_argument(
        "--cpu-time", action="store_true", help="time decisions by the thread's CPU: for a busy machine"
    )
    parser.add_argument("--ours", action="store_true", help="our policy alone, without the others")
    args = parser.parse_args(argv)
    if not BENCHMARK.is_dir():
        print(f"{BENCHMARK} is not there; the benchmark is expected beside the repository", file=sys.stderr)
        return 2

    month, run = benchmark()
    if args.cpu_time:
        month.time = SimpleNamespace(perf_counter_ns=time.thread_time_ns)
    if args.held_out:
        held_out.replace(month, run.DATA.resolve())
    pools = list(month.POOLS) if args.pool == "all" else args.pool.split(",")
    scenarios = list(month.SCENARIOS) if args.scenario == "all" else args.scenario.split(",")
    if args.quick:
        scenarios, args.months = ["base", "spike"], 5
    policies = {OURS: month.fresh(router_policy.make_policy)}
    if not args.ours:
        policies = {name: month.fresh(run.BASELINES[name]) for name in BASELINES} | policies
        policies["volume known"] = router_policy.volume_known
        if importlib.util.find_spec("pareto_bandit"):
            policies["paretobandit"] = month.fresh(run.load_factory(PARETOBANDIT))
    rows = run.run(policies, run.DATA.resolve(), pools, scenarios, args.months, args.seed)
    print(run.table(rows), run.summary(rows), grid(rows), sep="\n\n")
    if "paretobandit" not in policies:
        print("\nparetobandit was left out.")
    text, met = verdict(figures(rows))
    print("\n" + text)
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
