"""Old homes read: one frozen with every published version 1, its totals as they were, and an older version lifted on the way.

tests/homes/v1 is a small month, closed, corrected and half sealed; tests/homes/v1-every holds one event of every type
that was published by then, as the schemas' examples show them. Neither is ever written again.
"""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from ledger import codec, snapshots, tail
from ledger.disk import REAL
from ledger.envelope import Event, Moment, Name, Rate
from ledger.events import STAMPS, FxRecorded
from ledger.home import Home, create
from ledger.manifest import load
from ledger.money import text
from ledger.projections import replay
from ledger.segments import read_all
from ledger.store import Ledger, read_state, rebuild
from ledger.verify import verify
from reports.warehouse import asked
from tests.freeze import HOMES, frozen, published

NOW = datetime(2025, 12, 1, tzinfo=UTC)


def thawed(name: str, path: Path) -> Home:
    """A copy to work on, closed as a home has to be, which git does not keep."""
    shutil.copytree(HOMES / name, path)
    path.chmod(0o700)
    return Home(path)


def test_a_home_of_version_1_verifies_and_has_the_totals_it_had(tmp_path: Path) -> None:
    home = thawed("v1", tmp_path / "home")
    expected = json.loads((home.path / "totals.json").read_text(encoding="utf-8"))

    state = read_state(home)

    assert verify(home).is_ok
    assert state.position == expected["position"]
    assert [[*key, spend.calls, text(spend.cost_usd)] for key, spend in state.spend.items()] == expected["spend"]
    assert [
        [*key, text(one.settled), text(one.held), text(one.orphaned)] for key, one in state.running.items()
    ] == expected["running"]


def test_it_opens_goes_on_and_is_the_same_folded_any_way(tmp_path: Path) -> None:
    home = thawed("v1", tmp_path / "home")
    whole = snapshots.dump(replay(read_all(home)))

    Ledger.open(home.path, clock=lambda: NOW).close()
    with_tail = snapshots.dump(read_state(home))
    rebuild(home, lambda: NOW)

    assert with_tail == whole == snapshots.dump(read_state(home))
    assert verify(home).is_ok
    assert [(str(row["period"]), text(row["billed_usd"]), text(row["spend_usd"])) for row in asked(home.path, "FROM savings ORDER BY period")] == [
        ("2025-09", "0.0032", "0.0032"),
        ("2025-10", "0.0030551", "0.0017551"),
    ]  # fmt: skip


def test_every_published_version_of_an_event_is_in_a_frozen_home() -> None:
    """What lacks is frozen by: python -m tests.freeze NAME."""
    assert set(published()) <= set().union(*frozen().values())


@pytest.mark.parametrize("name", sorted(frozen()))
def test_every_frozen_event_reads_as_it_was_written(tmp_path: Path, name: str) -> None:
    home = thawed(name, tmp_path / "home")
    written = json.loads((home.path / "written.json").read_text(encoding="utf-8"))

    found = [
        json.loads(codec.encode(msgspec.structs.replace(event, **dict.fromkeys(STAMPS)))) for event in read_all(home)
    ]

    assert load(home, REAL).end.sequence == len(written) // 2  # half of them from Parquet
    assert found == [json.loads(codec.encode(codec.decode(msgspec.json.encode(one)))) for one in written]
    assert {one["type"] for one in written} <= set(codec.WRITTEN)
    assert verify(home).is_ok


class FxNoted(Event, frozen=True, kw_only=True, omit_defaults=True, tag="halfpenny.old.fx.recorded.v0"):
    """What an older program might have written: always against the dollar, so it does not say it."""

    base_currency: Name
    rate: Rate
    valid_from: Moment
    rate_source: Name


@pytest.fixture
def with_v0(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that still reads the older version."""
    monkeypatch.setitem(codec.WRITTEN, "halfpenny.old.fx.recorded.v0", FxNoted)  # type: ignore[arg-type]
    monkeypatch.setitem(
        codec.UPCASTERS,  # type: ignore[arg-type]
        "halfpenny.old.fx.recorded.v0",
        lambda found: found | {"type": "halfpenny.fx.recorded.v1", "quote_currency": "USD"},
    )


def test_an_older_version_keeps_its_bytes_in_the_chain_and_is_read_as_the_current_one(
    tmp_path: Path, with_v0: None
) -> None:
    home = create(tmp_path / "home", "")
    Ledger.open(home.path, clock=lambda: NOW).close()
    source, prev, lines = load(home, REAL).source, codec.GENESIS, []
    for sequence, rate in enumerate(("1.1", "1.2"), 1):
        old = FxNoted(
            id=f"old-{sequence}", subject="EUR/USD", time=NOW, base_currency="EUR", rate=rate, valid_from=NOW, rate_source="ECB"
        )  # fmt: skip
        line, prev = codec.stamped(codec.encode(old), source=source, sequence=sequence, recorded_at=NOW, prev=prev)
        lines.append(line)
    last = tail.numbers(home, REAL)[-1]
    tail.path_of(home, last).write_bytes(b"".join(lines))

    from_lines = list(read_all(home))
    ledger = Ledger.open(home.path, clock=lambda: NOW)
    ledger.seal()
    ledger.close()
    from_parquet = list(read_all(home))

    for found in (from_lines, from_parquet):
        assert [(type(one), one.sequence) for one in found] == [(FxRecorded, 1), (FxRecorded, 2)]
        assert [(one.quote_currency, one.rate) for one in found if isinstance(one, FxRecorded)] == [("USD", "1.1"), ("USD", "1.2")]  # fmt: skip
    assert load(home, REAL).end.sequence == 2
    assert load(home, REAL).end.hash == prev
    assert verify(home).is_ok
    assert snapshots.dump(read_state(home)) == snapshots.dump(replay(read_all(home)))
    assert [row["type"] for row in asked(home.path, "SELECT DISTINCT type FROM events")] == [
        "halfpenny.old.fx.recorded.v0"
    ]


def test_without_its_class_an_older_version_is_named_and_not_guessed(tmp_path: Path) -> None:
    with pytest.raises(codec.BadLine, match=r"unknown event type 'halfpenny\.old\.fx\.recorded\.v0'"):
        codec.decode(b'{"type":"halfpenny.old.fx.recorded.v0","id":"x"}')
