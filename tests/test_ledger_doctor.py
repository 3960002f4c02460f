"""`halfpenny doctor` names what is odd and what to do next; `halfpenny snapshot` is a file that needs nothing beside it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from ledger import doctor
from ledger import manifest as manifests
from ledger.disk import REAL
from ledger.home import Home
from tests.running import commanded
from tests.test_ledger_corrections import home as _home
from tests.test_ledger_corrections import said

home = _home


def of_part(home: Home, part: str) -> doctor.Check:
    found = {check.part: check for check in doctor.examined(home, datetime.now(UTC))}
    return found[part]


def test_a_sound_home_has_nothing_wrong(home: Home) -> None:
    said(home, "seal")

    found = said(home, "doctor", "--format", "json")

    checks = json.loads(found.out)
    assert {check["verdict"] for check in checks} == {"ok"}
    assert {check["part"] for check in checks} >= {
        *("permissions", "keys", "disk", "lock", "manifest", "segments", "journal", "clock", "views", "snapshot"),
    }
    assert "Nothing is wrong with it." in found.err


def _segment(home: Home) -> None:
    path = home.path / manifests.load(home, REAL).files[0].path
    path.write_bytes(path.read_bytes()[:-9] + b"x" + path.read_bytes()[-8:])


def _line(home: Home) -> None:
    path = next(path for path in sorted(home.journal.glob("*.jsonl")) if path.stat().st_size)
    path.write_bytes(path.read_bytes().replace(b'"acme"', b'"acne"', 1))


ODD: tuple[tuple[str, Callable[[Home], object], str, doctor.Verdict, str, str], ...] = (
    ("permissions", lambda home: home.keys.chmod(0o755), "others may read", "bad", "keys", "chmod -R go="),
    ("keys", lambda home: (home.keys / "pepper").unlink(), "pepper is missing", "bad", "keys/pepper", "Restore HOME/keys"),
    ("lock", lambda home: home.lock.write_text('{"pid": 4194303}'), "ended without letting go", "look", "4194303", "next start"),
    ("segments", _segment, "not what was sealed", "bad", ".parquet", "restore the file from a backup"),
    ("journal", _line, "is damaged at byte", "bad", ".jsonl", "halfpenny verify names every event"),
    ("manifest", lambda home: home.manifest.write_bytes(b"{}"), "is damaged", "bad", "manifest.json", "restore it from a backup"),
    ("views", lambda home: home.catalog.unlink(), "is missing", "bad", "ledger.duckdb", "halfpenny rebuild"),
    ("snapshot", lambda home: home.snapshot.write_bytes(b"x"), "damaged or of another version", "look", "snapshot.json", "folds anew"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("part", "spoil", "words", "verdict", "named", "todo"), [pytest.param(*one, id=one[0]) for one in ODD]
)
def test_what_is_odd_is_named_with_what_to_do(
    home: Home, part: str, spoil: Callable[[Home], object], words: str, verdict: str, named: str, todo: str
) -> None:
    if part in ("segments", "snapshot"):
        said(home, "seal")
    spoil(home)

    found = of_part(home, part)

    assert found.verdict == verdict
    assert words in found.found
    assert named in found.found
    assert todo in found.next
    assert commanded("doctor", "--home", str(home.path)).code == (1 if verdict == "bad" else 0)


def test_a_full_disk_and_a_clock_that_was_set_back_are_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "FREE_LOW", 1 << 80)
    monkeypatch.setattr(doctor, "FREE_BAD", 1 << 79)
    early = {check.part: check for check in doctor.examined(home, datetime(2025, 10, 1, tzinfo=UTC))}

    assert (early["disk"].verdict, early["clock"].verdict) == ("bad", "bad")
    assert "halfpenny drop" in early["disk"].next
    assert "Set the clock" in early["clock"].next


def test_a_snapshot_is_one_file_that_answers_like_the_home(home: Home, tmp_path: Path) -> None:
    sql = "SELECT period, spend_usd FROM savings ORDER BY period"
    expected = said(home, "query", sql, "--format", "csv").out.split()
    target = tmp_path / "acme.duckdb"

    taken = said(home, "snapshot", str(target))
    again = commanded("snapshot", str(target), "--home", str(home.path))
    shutil.rmtree(home.path)

    with duckdb.connect(str(target), read_only=True) as connection:
        rows = connection.execute(sql).fetchall()
        count, last = connection.execute("SELECT count(*), max(sequence) FROM events").fetchone() or (0, 0)
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"ATTACH '{target}' AS taken (READ_ONLY)")
        (calls,) = connection.execute("SELECT count(*) FROM taken.calls").fetchone() or (0,)
    assert [f"{period},{format(spend.normalize(), 'f')}" for period, spend in rows] == expected[1:]
    assert count == last > 0
    assert calls == 5
    assert taken.err.startswith(f"{count} events with every view.")
    assert again.code == 2
    assert target.stat().st_mode & 0o777 == 0o600
