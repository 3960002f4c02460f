"""An event that is sent again is recorded once, wherever the first one lies by now; another fact under its id is refused."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace
from uuid_utils.compat import uuid7

from ledger import events as e
from ledger import ids
from ledger.errors import Conflict
from ledger.home import Home, create
from ledger.journal import Limits
from ledger.segments import read_all
from ledger.store import Ledger, rebuild
from tests.written_homes import settled

NOW = datetime(2025, 10, 3, 8, tzinfo=UTC)


def fx(number: int, *, event_id: str = "", rate: str = "1.1") -> e.FxRecorded:
    return e.FxRecorded(
        id=event_id or str(uuid7()),
        subject="EUR/USD",
        time=NOW,
        base_currency="EUR",
        quote_currency="USD",
        rate=rate,
        valid_from=NOW,
        rate_source=f"bank {number}",
    )


def opened(home: Home) -> Ledger:
    return Ledger.open(home.path, clock=lambda: NOW, limits=Limits(events=10**9, seconds=10**9, grace_seconds=900))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return create(tmp_path / "home", "")


@pytest.mark.parametrize("ends", ["at once", "after a restart", "after a seal", "after a seal and a restart"])
@pytest.mark.parametrize("event_id", ["", "no uuid at all"])
def test_the_same_event_again_is_acknowledged_and_recorded_once(home: Home, ends: str, event_id: str) -> None:
    event, later = fx(1, event_id=event_id), fx(2)
    ledger = opened(home)
    ledger.append_now(event)
    ledger.append_now(later)
    if "seal" in ends:
        ledger.seal()
    if "restart" in ends:
        ledger.close()
        ledger = opened(home)

    for _ in range(3):
        ledger.append_now(event)
    ledger.append_now(fx(3))
    with pytest.raises(Conflict, match=r"is taken: another fact was recorded under it, and a fx\.recorded was sent"):
        ledger.append_now(replace(event, rate="1.2"))
    ledger.close()

    assert [found.sequence for found in read_all(home)] == [1, 2, 3]
    assert len(ledger.state.fx["EUR/USD"]) == 3


def test_of_a_batch_only_what_is_new_is_recorded_and_a_clash_records_nothing(home: Home) -> None:
    ledger = opened(home)
    first, second, third = (replace(fx(n), subject=f"E{n}/USD") for n in range(3))
    ledger.append_now(first)

    ledger.append_now(first, second, second)
    with pytest.raises(Conflict):
        ledger.append_now(third, replace(first, rate="9"))
    with pytest.raises(Conflict):
        ledger.append_now(third, replace(third, rate="9"))
    ledger.close()

    assert [found.id for found in read_all(home)] == [first.id, second.id]


def test_a_repetition_waits_for_the_first_to_be_durable(home: Home) -> None:
    ledger, event = opened(home), fx(1)
    first = ledger.submit(event)
    again = ledger.submit(event)

    again.wait()
    assert first.is_durable
    ledger.close()


def test_files_grow_by_merging_and_know_every_event(home: Home) -> None:
    ledger = opened(home)
    for start in range(0, 40, 4):
        ledger.append_now(*(replace(fx(n), subject=f"E{n}/USD") for n in range(start, start + 4)))
        ledger.seal()
    ledger.close()

    runs = ids.runs(home)
    assert (runs[0].first, runs[-1].last) == (1, 40)
    assert len(runs) <= 4  # of ten seals of four: each file at least twice the next
    assert all(before.last + 1 == after.first for before, after in itertools.pairwise(runs))
    for event in read_all(home):
        found = [ids.Shelf(run).find(ids.key_of(event.id)) for run in runs]
        assert [digest for digest in found if digest] == [ids.digest_of(ids.body_of(event))]


@pytest.mark.parametrize("harm", ["lost", "flipped", "cut", "emptied"])
def test_a_harmed_file_is_made_anew_and_never_lets_one_in_twice(home: Home, harm: str) -> None:
    ledger, event = opened(home), fx(1)
    ledger.append_now(event)
    ledger.seal()
    ledger.append_now(fx(2))
    ledger.seal()
    ledger.close()
    (run,) = ids.runs(home)
    content = run.path.read_bytes()
    changed = bytes([content[0] ^ 1]) + content[1:]
    run.path.write_bytes({"flipped": changed, "cut": content[:-9], "emptied": b"", "lost": content}[harm])
    if harm == "lost":
        run.path.unlink()

    ledger = opened(home)
    ledger.append_now(replace(event))
    ledger.close()

    assert [found.sequence for found in read_all(home)] == [1, 2]
    rebuild(home, lambda: NOW)
    assert ids.runs(home)[0].path.read_bytes() == content


def test_what_a_file_knows_leaves_memory(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "RECENT", 5)
    ledger = opened(home)
    ledger._known._look_at = 5
    events = [replace(fx(n), subject=f"E{n}/USD") for n in range(12)]
    for event in events:
        ledger.append_now(event)
        if event is events[7]:
            ledger.seal()

    assert len(ledger._known._recent) == 4
    ledger.append_now(*events)
    ledger.close()
    assert len(list(read_all(home))) == 12


def test_an_id_that_is_no_uuid_makes_no_fresh_one_be_looked_for_in_a_file(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its key lies anywhere, mostly above all that are made in our time: once sealed, every event was looked for in every file."""
    looked: list[bytes] = []
    find = ids.Shelf.find
    monkeypatch.setattr(ids.Shelf, "find", lambda shelf, key: [looked.append(key), find(shelf, key)][1])
    ledger = opened(home)
    foreign = [replace(fx(n, event_id=f"their id {n}"), subject=f"E{n}/USD") for n in range(9)]
    ledger.append_now(*foreign)
    ledger.seal()
    for number in range(20, 25):
        ledger.append_now(replace(fx(number), subject=f"E{number}/USD"))
        ledger.seal()
    ledger.close()
    ledger = opened(home)
    ledger.append_now(fx(30))
    assert looked == []

    ledger.append_now(*foreign)
    ledger.close()
    assert {ids.key_of(event.id) for event in foreign} <= set(looked)
    assert len(list(read_all(home))) == 9 + 5 + 1


def test_a_file_named_by_its_highest_key_of_all_is_still_looked_into(home: Home) -> None:
    """As they were named before: higher than need be, so an event in it is found all the same, and so is one that is new."""
    ledger, foreign, event = opened(home), fx(1, event_id="no uuid at all"), replace(fx(2), subject="E2/USD")
    ledger.append_now(foreign, event)
    ledger.seal()
    ledger.close()
    (run,) = ids.runs(home)
    highest = max(ids.key_of(foreign.id), ids.key_of(event.id))
    assert run.highest == ids.key_of(event.id) < highest
    run.path.rename(run.path.with_name(run.path.name.replace(run.highest.hex(), highest.hex())))

    ledger = opened(home)
    ledger.append_now(foreign, event)
    ledger.append_now(replace(fx(3), subject="E3/USD"))
    with pytest.raises(Conflict):
        ledger.append_now(replace(foreign, rate="9"))
    ledger.close()

    assert [found.sequence for found in read_all(home)] == [1, 2, 3]


def test_ids_keep_their_order_in_time_and_spellings_are_not_mixed() -> None:
    early, late = "0199a8f2-6c3e-7b1a-9d44-5e8c01a2b3c4", "0199a8f2-6c3f-7000-8000-000000000000"

    assert ids.key_of(early) == bytes.fromhex(early.replace("-", "")) < ids.key_of(late)
    others = [early.upper(), early.replace("-", ""), f"{early} ", "0199a8f26c3e7b1a9d445e8c01a2b3c4-7--"]
    assert len({ids.key_of(other) for other in (early, *others)}) == 5
    assert ids.record_of(settled(1)) == ids.key_of("event-1") + ids.digest_of(ids.body_of(settled(1)))
