"""Signed heads: what they vouch for, and that a past rewritten with a chain of its own shows."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from ledger import codec, heads, tail
from ledger import events as e
from ledger.admin import Stamp
from ledger.disk import REAL
from ledger.errors import Conflict, Damage, InvalidInput, NotFound
from ledger.home import Home, create
from ledger.manifest import Manifest, load, store
from ledger.projections import check
from ledger.segments import read_all
from ledger.store import Ledger, read_state
from tests.running import commanded


def moment(month: int, day: int = 3) -> datetime:
    return datetime(2025, month, day, 8, tzinfo=UTC)


def append(home: Home, at: datetime, *events: e.Event, seal: bool = False) -> None:
    ledger = Ledger.open(home.path, clock=lambda: at)
    for event in events:
        ledger.append_now(event)
    if seal:
        ledger.seal()
    ledger.close()


def closed(number: int, cost: str) -> e.MonthClosed:
    """An event with a cost, which needs nothing before it but its client."""
    return e.MonthClosed(
        id=f"closed-{number}",
        subject="acme",
        time=moment(1),
        client_id="acme",
        period=f"2025-{number:02d}",
        up_to_sequence=0,
        calls=0,
        cost_usd=cost,
    )


def client() -> e.ClientAdded:
    return e.ClientAdded(
        id="client", subject="acme", time=moment(9), client_id="acme", display_name="A", currency="EUR", zone="UTC", private=False
    )  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Two events in September, one in October (sealed), one in November."""
    made = create(tmp_path / "home", "")
    append(made, moment(9), client(), closed(1, "0.1"))
    append(made, moment(10), closed(2, "0.25"), seal=True)
    append(made, moment(11), closed(3, "1"))
    return made


def sign(home: Home) -> dict[str, e.HeadSigned]:
    said = commanded("head", "sign", "--home", str(home.path))
    assert said.code == 0, said.err
    return read_state(home).heads


def test_each_month_that_is_over_is_signed_once_where_it_ended(home: Home) -> None:
    found = sign(home)
    again = commanded("head", "sign", "--home", str(home.path))

    by_sequence = {event.sequence: event.hash for event in read_all(home)}
    assert [(h.subject, h.head_sequence, h.head_cost_sum) for h in found.values()][:3] == [
        ("2025-09", 2, "0.1"),
        ("2025-10", 3, "0.35"),
        ("2025-11", 4, "1.35"),
    ]
    assert all(by_sequence[h.head_sequence] == h.head_hash for h in found.values())
    assert "No month is over" in again.err
    assert sorted(path.name for path in home.heads.iterdir())[:2] == ["2025-09.json", "2025-10.json"]
    verified = commanded("verify", "--home", str(home.path))
    assert verified.code == 0, verified.out
    assert "6 signed heads hold." in verified.err  # each in the log and as a file


def test_a_lost_file_is_written_again_and_a_month_is_not_signed_twice(home: Home) -> None:
    found = sign(home)
    content = (home.heads / "2025-09.json").read_bytes()
    (home.heads / "2025-09.json").unlink()

    sign(home)

    assert (home.heads / "2025-09.json").read_bytes() == content
    with pytest.raises(Conflict, match="2025-09 is signed already"):
        check(read_state(home), replace(found["2025-09"], id="other"))


def rewritten(home: Home, events: Iterable[e.Event]) -> None:
    """What someone with the disk in hand does: another past, with sums and a chain that hold."""
    prev, lines, source = codec.GENESIS, [], ""
    for sequence, event in enumerate(events, 1):
        source, recorded_at = event.source or "", event.recorded_at
        bare = msgspec.structs.replace(event, **dict.fromkeys(e.STAMPS))
        assert recorded_at is not None
        line, prev = codec.stamped(
            codec.encode(bare), source=source, sequence=sequence, recorded_at=recorded_at, prev=prev
        )
        lines.append(line)
    for number in tail.numbers(home, REAL):
        tail.path_of(home, number).write_bytes(b"")
    for path in home.events.rglob("*.parquet"):
        path.unlink()
    for path in (home.snapshot, home.catalog):
        path.unlink(missing_ok=True)
    known = load(home, REAL)
    last = tail.numbers(home, REAL)[-1]
    store(home, REAL, Manifest(source=source, published_at=moment(12), generation=known.generation + 1, sealed_up_to=last - 1))  # fmt: skip
    tail.path_of(home, last).write_bytes(b"".join(lines))


@pytest.mark.parametrize("what", ["a cost", "the last events"])
def test_a_past_rewritten_with_a_chain_that_holds_shows(home: Home, tmp_path: Path, what: str) -> None:
    sign(home)
    kept = tmp_path / "elsewhere.json"
    kept.write_bytes((home.heads / "2025-10.json").read_bytes())
    public = commanded("head", "key", "--home", str(home.path)).out.strip()
    events = [event for event in read_all(home) if not isinstance(event, e.HeadSigned)]
    for path in home.heads.iterdir():
        path.unlink()
    changed = [replace(one, cost_usd="0.01") if one.id == "closed-2" else one for one in events]  # type: ignore[call-arg]
    rewritten(home, changed if what == "a cost" else events[:2])

    alone = commanded("verify", "--home", str(home.path))
    held = commanded(
        "verify", "--home", str(home.path), "--heads", str(kept), "--public-key", public, "--format", "json"
    )

    assert alone.code == 0, alone.out + alone.err  # sums and chain hold: only the head tells
    assert held.code == 4
    (finding,) = json.loads(held.out)["findings"]
    assert ("the past was rewritten" if what == "a cost" else "events were removed") in finding["why"]


def test_a_head_that_was_changed_or_signed_by_another_is_named(home: Home, tmp_path: Path) -> None:
    sign(home)
    path = home.heads / "2025-09.json"
    head = heads.read(path)[0]
    other = create(tmp_path / "other", "")

    def why(changed: heads.Head) -> str:
        path.write_bytes(msgspec.json.encode(changed))
        (finding,) = heads.check(home)[0]
        assert finding.path == "heads/2025-09.json"
        return finding.why

    assert "bears no valid signature" in why(replace(head, cost_sum="0.2"))
    assert "bears no valid signature" in why(replace(head, signature="00" * 64))
    assert "is signed with the key" in why(replace(head, public_key=heads.public_key(other)))
    path.write_text("{}")
    assert "it is not a signed head" in heads.check(home)[0][0].why
    with pytest.raises(NotFound, match="signed head"):
        heads.read(tmp_path / "nothing")
    with pytest.raises(InvalidInput, match="64 hex digits"):
        heads.trusted_key("abc")
    (home.keys / heads.KEY_NAME).write_text("no key")
    with pytest.raises(Damage, match="32 bytes in hex"):
        heads.public_key(home)


def test_it_is_told_without_the_log_whether_a_head_may_be_due(home: Home) -> None:
    state = read_state(home)

    assert heads.is_due(state, moment(10))
    assert not heads.is_due(state, moment(9))
    state.heads["2025-09"] = heads.signed(home, Stamp("s", moment(10)), "2025-09", heads.Reached(2, "0" * 32))
    assert not heads.is_due(state, moment(10))
