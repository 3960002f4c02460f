"""The same promises on a real disk: kills, failing system calls, a full disk, an ext4 whose power goes.

A drill that this machine cannot run is skipped, and says what is missing; under `.ci/run` a missing tool is a failure. Full counts:
`make drill-ledger`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import NOT_ALLOWED
from tests.fault_sweeps import CALLS, FAULTS, Missing, NotAllowed, ext4_cuts, full_disk, sweep
from tests.real_lives import fork_kills


def lacking(missing: Missing) -> None:
    """Skip, and say whether a tool is missing or a right."""
    pytest.skip(f"{NOT_ALLOWED if isinstance(missing, NotAllowed) else ''}{missing}")


def test_a_writer_killed_at_any_step_loses_and_doubles_nothing(tmp_path: Path) -> None:
    counts = fork_kills(tmp_path, 150, seed=1)

    assert counts["kills"] >= 150
    assert counts["events"] > 20


# With real Parquet a life takes two seconds; the drill sweeps all of it.
@pytest.mark.parametrize(("parquet", "faults", "share"), [(False, FAULTS, 0.03), (True, FAULTS[:1], 0.0)])
def test_whatever_system_call_fails_or_is_the_last_nothing_acknowledged_is_lost(
    tmp_path: Path, parquet: bool, faults: tuple[str, ...], share: float
) -> None:
    try:
        found = sweep(tmp_path, seed=5, share=share, parquet=parquet, faults=faults)
    except Missing as missing:
        return lacking(missing)

    assert set(found.runs) == {f"{call} {fault}" for call in CALLS for fault in faults}
    assert found.acknowledged > 0
    return None


def test_a_full_disk_refuses_loses_nothing_and_goes_on_once_there_is_room(tmp_path: Path) -> None:
    try:
        before, after = full_disk(tmp_path, seed=1)
    except Missing as missing:
        return lacking(missing)

    assert after >= before > 0
    return None


def test_an_ext4_whose_power_goes_keeps_every_acknowledged_event(tmp_path: Path) -> None:
    try:
        counts = ext4_cuts(tmp_path, 24, seed=1)
    except Missing as missing:
        return lacking(missing)

    assert counts["cuts at a step"] > counts["cuts"] / 2
    return None
