"""Backups: a prefix of the log whatever is written meanwhile, verified, never over something; and the way back."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from uuid_utils.compat import uuid7

from ledger import events as e
from ledger.backups import backup, restore
from ledger.errors import Conflict, Damage, NotFound
from ledger.home import Home, create
from ledger.journal import Limits
from ledger.segments import read_all
from ledger.store import Ledger, read_state
from ledger.verify import verify
from reports.warehouse import asked
from tests.running import commanded

NOW = datetime(2025, 10, 3, 8, tzinfo=UTC)


def fx(number: int) -> e.FxRecorded:
    return e.FxRecorded(
        id=str(uuid7()), subject=f"E{number}/USD", time=NOW, base_currency="EUR", quote_currency="USD", rate="1.1", valid_from=NOW, rate_source="ECB"
    )  # fmt: skip


def hashes(home: Home) -> list[str | None]:
    return [event.hash for event in read_all(home)]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Twenty events in two segments and a tail."""
    made = create(tmp_path / "home", "")
    ledger = Ledger.open(made.path, clock=lambda: NOW)
    for start in (0, 8, 16):
        ledger.append_now(*(fx(n) for n in range(start, min(start + 8, 20))))
        if start < 16:
            ledger.seal()
    ledger.close()
    return made


@pytest.mark.parametrize("name", ["copy", "copy.tar"])
def test_there_and_back_is_the_same_log_the_same_answers_and_no_secret(home: Home, tmp_path: Path, name: str) -> None:
    made = backup(home, tmp_path / name)
    back = restore(tmp_path / name, tmp_path / "back", lambda: NOW)
    restored = Home(tmp_path / "back")

    assert (made.sequence, back.sequence, made.has_keys, back.has_keys) == (20, 20, False, False)
    assert hashes(restored) == hashes(home)
    assert verify(restored).is_ok
    assert not any(restored.keys.iterdir())
    assert read_state(restored) == read_state(home)
    assert asked(restored.path, "SELECT count(*) AS n FROM events") == [{"n": 20}]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_with_its_keys_a_restored_home_goes_on_where_the_backup_ended(home: Home, tmp_path: Path) -> None:
    backup(home, tmp_path / "copy")
    restore(tmp_path / "copy", tmp_path / "back", lambda: NOW, keys=home.keys)
    restored = Home(tmp_path / "back")

    ledger = Ledger.open(restored.path, clock=lambda: NOW)
    ledger.append_now(fx(99))
    ledger.close()

    assert restored.pepper() == home.pepper()
    assert hashes(restored)[:20] == hashes(home)
    assert verify(restored).events == 21
    assert oct(restored.path.stat().st_mode)[-3:] == "700"


def test_while_a_writer_appends_seals_and_compacts_each_backup_is_a_prefix(home: Home, tmp_path: Path) -> None:
    stop, failed = threading.Event(), list[BaseException]()

    def write() -> None:
        try:
            ledger = Ledger.open(home.path, clock=lambda: NOW, limits=Limits(events=40, seconds=1e9, grace_seconds=0.0))
            number = 100
            while not stop.is_set():
                ledger.append_now(*(fx(n) for n in range(number, number + 5)))
                number += 5
            ledger.close()
        except BaseException as refused:
            failed.append(refused)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        made = [backup(home, tmp_path / f"copy{n}") for n in range(4)]
    finally:
        stop.set()
        writer.join()

    assert not failed
    whole = hashes(home)
    for one in made:
        found = hashes(Home(one.path))
        assert len(found) == one.sequence
        assert found == whole[: one.sequence]
        assert verify(Home(one.path)).is_ok


def test_nothing_is_written_over_and_what_is_damaged_is_no_backup(home: Home, tmp_path: Path) -> None:
    backup(home, tmp_path / "copy")
    with pytest.raises(Conflict, match="exists already"):
        backup(home, tmp_path / "copy")
    with pytest.raises(Conflict, match="is not empty"):
        restore(tmp_path / "copy", home.path, lambda: NOW)
    with pytest.raises(NotFound, match="backup"):
        restore(home.journal, tmp_path / "back", lambda: NOW)
    segment = next((tmp_path / "copy" / "events").rglob("*.parquet"))
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(bytes(content))

    with pytest.raises(Damage, match="SHA-256"):
        restore(tmp_path / "copy", tmp_path / "back", lambda: NOW)
    assert not (tmp_path / "back").exists()
    (home.path / segment.relative_to(tmp_path / "copy")).write_bytes(bytes(content))
    with pytest.raises(Damage, match="SHA-256"):
        backup(home, tmp_path / "second")
    assert not (tmp_path / "second").exists()


def test_the_commands_say_what_they_did_and_what_is_not_in_it(home: Home, tmp_path: Path) -> None:
    made = commanded("backup", str(tmp_path / "b.tar"), "--home", str(home.path))
    back = commanded("restore", str(tmp_path / "b.tar"), "--home", str(tmp_path / "back"))

    assert (made.code, back.code) == (0, 0), made.err + back.err
    assert "every event up to 20, verified" in made.err
    assert "Its secrets are not in it" in made.err
    assert "It has no secrets yet" in back.err
