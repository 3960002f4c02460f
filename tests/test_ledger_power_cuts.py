"""The power may go anywhere: 50,000 modelled cuts here, a million in `make drill-cuts`."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from random import Random

import hypothesis.strategies as st
import pytest
from hypothesis import assume, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.model_disk import Content, ModelDisk
from tests.model_flips import run as run_flips
from tests.power_cuts import HOME, ROOT, History, Life, run, started

REPOSITORY = Path(__file__).resolve().parent.parent

CUTS = int(os.environ.get("HALFPENNY_CUTS", "50000"))
SHARES = 4  # of the count, each from a seed of its own, so that a failure is found early


@pytest.mark.parametrize("share", range(SHARES))
def test_no_cut_loses_doubles_or_invents_an_event(share: int) -> None:
    counts = run(CUTS // SHARES, seed=1 + share * 1_000_000)

    assert counts["cuts"] >= CUTS // SHARES
    assert counts["cuts in a start"] > counts["cuts"] / 10
    assert counts["stopped aloud"] < counts["cuts"] / 500
    assert min(counts[name] for name in ("turns", "reads", "failed", "refused")) > 0


def test_the_model_keeps_what_was_synced_and_may_lose_the_rest() -> None:
    disk = ModelDisk(HOME, Random(1))
    for name in ("synced", "unsynced", "unnamed"):
        handle = disk.create(ROOT / name)
        disk.write(handle, b"abc")
        if name != "unsynced":
            disk.sync(handle)
        if name != "unnamed":
            disk.sync_dir(ROOT)

    found = [disk.cut(Random(seed)) for seed in range(200)]

    assert {bytes(cut.read(ROOT / "synced")) for cut in found} == {b"abc"}
    assert {cut.read(ROOT / "unsynced").rstrip(b"\0") for cut in found} == {b"", b"a", b"ab", b"abc"}
    assert {"unnamed" in cut.list(ROOT) for cut in found} == {True, False}


def test_the_model_loses_what_a_failed_sync_threw_away_however_often_the_next_one_succeeds() -> None:
    content = Content(b"abcdef", 3)
    content.lose()
    content.data += b"ghi"
    content.sync()

    left = {content.survivor(Random(seed)).data for seed in range(50)}

    assert left == {b"abc", b"abc\0\0\0ghi"}


def test_a_changed_file_is_named_or_changes_nothing() -> None:
    assert run_flips(CUTS // 10, seed=1) > CUTS // 20


def test_every_planted_bug_is_caught() -> None:
    """The table is `python -m tests.planted_bugs`."""
    said = subprocess.run(
        (sys.executable, "-m", "tests.planted_bugs"), cwd=REPOSITORY, capture_output=True, text=True, check=False
    )

    lines = said.stdout.splitlines()
    assert said.returncode == 0, said.stdout + said.stderr
    assert len(lines) - 2 >= 12
    assert lines[-2].split("  ")[0] == "none"
    assert "not caught" in lines[-2]
    assert not any("not caught" in line for line in lines[:-2])


class OneHome(RuleBasedStateMachine):
    """What hypothesis may do to a home; the model of its log is the list of acknowledged events in `history`."""

    def __init__(self) -> None:
        super().__init__()
        self.history = History(0)
        self.disk = ModelDisk(HOME, self.history.draw)
        self.disk.make_dir(HOME.path)
        self.disk.sync_dir(ROOT)
        self.life = self._next()

    def _next(self) -> Life:
        life = Life(self.history, self.disk, is_sound=True)
        recovered = self.history.start(self.disk)
        assert recovered is not None or self.history.counts["stopped aloud"]
        assume(recovered is not None)
        life.begin(recovered)
        return life

    @rule(groups=st.integers(1, 3))
    def append(self, groups: int) -> None:
        for _ in range(groups):
            assert self.life.append()

    @rule()
    def upkeep(self) -> None:
        self.life.keeper.turn()

    @rule(minutes=st.sampled_from((1, 20, 60)))
    def wait(self, minutes: int) -> None:
        self.history.now += timedelta(minutes=minutes)

    @rule(seed=st.integers(0, 2**32))
    def cut(self, seed: int) -> None:
        self.disk = self.disk.cut(Random(seed))
        self.life = self._next()

    @rule(seed=st.integers(0, 2**32))
    def kill(self, seed: int) -> None:
        self.disk = self.disk.killed(Random(seed))
        self.life = self._next()

    @invariant()
    def a_reader_sees_every_acknowledged_event_once(self) -> None:
        self.life.read()

    @invariant()
    def a_cut_here_would_lose_nothing(self) -> None:
        started(self.disk.cut(Random(self.history.told)), self.history.log, self.history.told, self.history.now)


TestOneHome = OneHome.TestCase
TestOneHome.settings = settings(max_examples=60, stateful_step_count=30, deadline=None, database=None, derandomize=True)
