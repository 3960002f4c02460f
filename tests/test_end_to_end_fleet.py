"""Gateways as processes on one budget, killed with their Redis; the drill runs more of it."""

from __future__ import annotations

from pathlib import Path

from bench.fleet_drill import fleet_drill


def test_gateways_killed_with_their_redis_pass_no_cap_together(tmp_path: Path) -> None:
    (found,) = fleet_drill(tmp_path, 1, seed=7, gateways=2)

    assert found.wrong == []
    assert (found.trouble, found.calls > 0, found.orphans > 0) == ("emptied", True, True)
