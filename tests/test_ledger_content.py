"""Texts that are kept: readable with their key alone, gone with it for good, and nowhere else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ledger import content
from ledger import events as e
from ledger.backups import backup
from ledger.home import Home, create
from ledger.segments import read_all
from ledger.store import read_state
from ledger.verify import verify
from tests.running import commanded

NOW = datetime(2025, 10, 3, 8, tzinfo=UTC)
CANARY = "Mrs. Canary's card 4711 — ☂"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = create(tmp_path / "home", "")
    assert commanded("client", "add", "acme", "--home", str(made.path)).code == 0
    return made


def keep(home: Home, ticket: str, text: str = CANARY, *, client: str = "acme", days: int = 7) -> bool:
    return content.keep(home, client, ticket, text, until=content.until(NOW, days))


def bytes_of(*places: Path) -> bytes:
    return b"".join(path.read_bytes() for place in places for path in place.rglob("*") if path.is_file())


def test_a_text_is_read_back_under_its_client_and_ticket_and_lies_nowhere_in_the_clear(home: Home) -> None:
    assert keep(home, "T-1")
    assert keep(home, "T-2", "another")

    assert content.kept(home, "acme", "T-1", now=NOW) == CANARY
    assert content.kept(home, "acme", "T-2", now=NOW) == "another"
    assert content.kept(home, "other", "T-1", now=NOW) is None
    assert content.kept(home, "acme", "T-3", now=NOW) is None
    assert b"Canary" not in bytes_of(home.path)
    assert b"T-1" not in b"".join(str(path).encode() for path in home.path.rglob("*"))
    modes = {oct(path.stat().st_mode)[-3:] for path in (*home.content.rglob("*"), *home.keys.rglob("*"))}
    assert modes <= {"700", "600"}


def test_a_text_that_was_moved_or_changed_is_not_read(home: Home) -> None:
    keep(home, "T-1")
    keep(home, "T-2")
    first, second = sorted(home.content.rglob("*.text"))
    whole = first.read_bytes()

    for at in (0, 7, 8, 25, len(whole) - 1):
        first.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        second.write_bytes(whole)
        assert [content.kept(home, "acme", ticket, now=NOW) for ticket in ("T-1", "T-2")] == [None, None], at


def test_what_expired_is_not_read_and_goes_with_its_key(home: Home) -> None:
    keep(home, "T-1", days=7)
    keep(home, "T-2", days=8)
    later = NOW + timedelta(days=7)

    assert content.kept(home, "acme", "T-1", now=later) is None
    assert content.expire(home, later) == 1
    assert content.expire(home, later) == 0
    assert content.kept(home, "acme", "T-2", now=later) == CANARY
    assert len(list(home.keys.rglob("*.key"))) == len(list(home.content.rglob("*.text"))) == 1
    assert keep(home, "T-1")  # it may be kept anew: it expired and was not erased


@pytest.mark.parametrize("ticket", ["T-1", None])
def test_an_erased_text_is_gone_whatever_copies_there_are_and_never_kept_again(
    home: Home, tmp_path: Path, ticket: str | None
) -> None:
    keep(home, "T-1")
    keep(home, "T-2")
    copies = {path: path.read_bytes() for path in home.content.rglob("*.text")}
    backup(home, tmp_path / "copy", with_keys=True)
    words = () if ticket is None else ("--ticket", ticket)

    said = commanded("erase", "acme", "--reason", "asked for", *words, "--home", str(home.path))
    again = commanded("erase", "acme", "--reason", "asked for", *words, "--home", str(home.path))
    for path, sealed in copies.items():
        path.write_bytes(sealed)  # someone had a copy

    assert (said.code, again.code) == (0, 0), said.err + again.err
    assert f"{1 if ticket else 2} keys destroyed" in said.err
    assert "0 keys destroyed" in again.err
    assert content.kept(home, "acme", "T-1", now=NOW) is None
    assert content.kept(home, "acme", "T-2", now=NOW) == (CANARY if ticket else None)
    assert not keep(home, "T-1")
    assert not (tmp_path / "copy" / "keys" / "content").exists()
    erased = [event for event in read_all(home) if isinstance(event, e.SubjectErased)]
    assert [(event.subject, event.ticket_id, event.reason) for event in erased] == [("acme", ticket, "asked for")] * 2
    assert verify(home).is_ok
    assert read_state(home).clients.keys() == {"acme"}
