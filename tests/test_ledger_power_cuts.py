"""The power may go anywhere: 50,000 modelled cuts here, a million in `make drill-cuts`."""

from __future__ import annotations

import os
from random import Random

import pytest

from tests.model_disk import Content, ModelDisk
from tests.power_cuts import ROOT, run

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
    disk = ModelDisk(ROOT, Random(1))
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
