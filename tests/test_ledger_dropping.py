"""Months dropped after an export: what goes, what stays to the digit, who can tell, and a crash at any step.

The home is that of the corrections' tests: September closed with two calls of 0.0006, October open.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ledger import disk as disks
from ledger import dropping, exports, ids, snapshots
from ledger import events as e
from ledger import manifest as manifests
from ledger.admin import Stamp
from ledger.backups import backup
from ledger.closing import month_closed
from ledger.disk import REAL
from ledger.errors import Conflict, LedgerError
from ledger.home import Home
from ledger.money import text
from ledger.segments import read_all
from ledger.store import Ledger, read_state, rebuild
from ledger.verify import verify
from reports.warehouse import asked
from tests.made_home import MEDIUM, Book
from tests.running import Said, commanded, gateway
from tests.test_ledger_corrections import NOVEMBER, append, day, of, said
from tests.test_ledger_corrections import home as _home

home = _home
WHY = ("--reason", "contract with acme: no call is kept for more than a month")
STEPS = 12  # of about a hundred that change the disk
LATER = datetime(2025, 12, 24, tzinfo=UTC)


def exported(home: Home, name: str = "export", before: str = "2025-10") -> Path:
    target = home.path.parent / name
    said(home, "export", "parquet", str(target), "--before", before)
    return target


def dropped(home: Home) -> Path:
    target = exported(home)
    said(home, "drop", str(target), *WHY)
    return target


def refused(home: Home, *arguments: str, code: int = 2) -> Said:
    found = commanded(*arguments, "--home", str(home.path))
    assert found.code == code, found.err
    return found


def dump(home: Home) -> bytes:
    return snapshots.dump(read_state(home))


def calls_in(home: Home) -> set[str]:
    return {event.period for event in read_all(home) if isinstance(event, e.CallSettled)}


def test_an_export_can_be_checked_by_any_tool_and_holds_every_event_of_its_months(home: Home) -> None:
    before = list(read_all(home))

    target = exported(home)

    found, digest = exports.read(target)
    checked = subprocess.run(("sha256sum", "-c", "SHA256SUMS"), cwd=target, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert found.period == "2025-09"
    assert digest == hashlib.sha256((target / "export.json").read_bytes()).hexdigest()
    assert [event.id for event in exports.events_of(target, found)] == [event.id for event in before]


def test_a_preview_shows_what_would_go_and_drops_nothing(home: Home) -> None:
    target = exported(home)
    before = [event.id for event in read_all(home)]

    shown = said(home, "drop", str(target), *WHY, "--dry-run", "--format", "json")

    assert json.loads(shown.out) == [{"client_id": "acme", "month": "2025-09", "events": 4, "closed_at_usd": "0.0012"}]
    assert "4 events of 2025-09 and before would be dropped" in shown.err
    assert [event.id for event in read_all(home)] == before


def test_what_is_dropped_is_gone_and_every_total_is_what_it_was(home: Home) -> None:
    before, events = read_state(home), list(read_all(home))
    totals = [(key, text(spend.cost_usd), spend.calls) for key, spend in before.spend.items()]

    dropped(home)

    after, left = read_state(home), list(read_all(home))
    assert calls_in(home) == {"2025-10"}
    assert len(left) == len(events) - 4 + 1
    assert [(key, text(spend.cost_usd), spend.calls) for key, spend in after.spend.items()] == totals
    assert [text(one.settled) for one in after.running.values()] == [
        text(one.settled) for one in before.running.values()
    ]
    assert "2025-09" in said(home, "status").out


def test_folded_anew_the_state_has_the_same_bytes(home: Home) -> None:
    dropped(home)
    append(home, *call("later-", day(10, 9)))
    before = dump(home)

    rebuild(home, lambda: NOVEMBER)

    assert dump(home) == before
    home.snapshot.unlink()
    assert dump(home) == before


def call(ids: str, at: datetime) -> list[e.Event]:
    """A call of 0.0006: its hold and its end."""
    book = Book(ids=ids)
    book.client()
    book.call("generation", MEDIUM, at, (1000, 100), arm="standard", ticket_id="T-9")
    return [event for event in book.events if isinstance(event, e.CallReserved | e.CallSettled)]


def test_verify_knows_the_gap_by_its_signed_event(home: Home) -> None:
    dropped(home)

    found = verify(home)

    (event,) = (one for one in read_all(home) if isinstance(one, e.LogDropped))
    assert found.is_ok, [str(one) for one in found.findings]
    assert "4 events of 2025-09 and before were exported and dropped" in found.notes[0]
    assert (event.period, event.events_dropped, event.reason) == ("2025-09", 4, WHY[1])
    assert said(home, "verify").code == 0


def _changed(home: Home, change: Callable[[manifests.Manifest], manifests.Manifest]) -> None:
    manifests.store(home, REAL, change(manifests.load(home, REAL)))


@pytest.mark.parametrize("what", ["segment", "state", "event", "signature"])
def test_a_gap_that_was_tampered_with_is_named(home: Home, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dropped(home)
    manifest = manifests.load(home, REAL)
    assert manifest.dropped is not None
    if what == "segment":
        path = home.path / manifest.files[0].path
        path.write_bytes(path.read_bytes()[:-9] + b"x" + path.read_bytes()[-8:])
        expected = "its SHA-256 is"
    elif what == "state":
        path = home.carried / f"state-{manifest.dropped.sequence:016d}.json"
        path.write_bytes(path.read_bytes().replace(b"0.0012", b"0.0011"))
        expected = "its SHA-256 is"
    elif what == "event":
        monkeypatch.setattr(dropping, "LogDropped", e.SubjectErased)  # as if the log did not have it
        expected = "no log.dropped event says"
    else:
        monkeypatch.setattr(dropping, "signed_bytes", lambda *_: b"something else")
        expected = "no valid signature"

    assert any(expected in str(one) for one in verify(home).findings)


def test_without_the_carried_state_nothing_starts_on_less(home: Home) -> None:
    dropped(home)
    for path in (*home.carried.glob("state-*.json"), home.snapshot):
        path.unlink(missing_ok=True)

    found = refused(home, "status", code=4)

    assert "the file is missing, and the events it was made of were dropped" in found.err


def test_months_that_are_not_closed_or_not_exported_whole_are_refused(home: Home) -> None:
    october = exported(home, "october", "2025-11")
    september = exported(home)
    assert "2025-10 of acme is not closed" in refused(home, "drop", str(october), *WHY).err

    append(home, *call("late-", day(9, 25)))
    assert "the log went on. Export it again." in refused(home, "drop", str(september), *WHY).err

    again = exported(home, "again")
    segment = next((again / "events").rglob("*.parquet"))
    segment.write_bytes(segment.read_bytes()[:-9] + b"x" + segment.read_bytes()[-8:])
    assert "its SHA-256 is" in refused(home, "drop", str(again), *WHY, code=4).err
    segment.unlink()
    assert "it is not there" in refused(home, "drop", str(again), *WHY, code=4).err
    assert "There is no export" in refused(home, "drop", str(home.path / "nowhere"), *WHY).err
    assert of(home, e.LogDropped) == []


def test_what_only_dropped_events_could_answer_is_refused_and_not_answered_by_less(home: Home) -> None:
    report = json.loads(said(home, "report", "build", "acme", "2025-09", "--format", "json").out)
    dropped(home)

    again = json.loads(said(home, "report", "build", "acme", "2025-09", "--format", "json").out)
    assert (again["revision"], again["report_sha256"], again["is_new"]) == (1, report["report_sha256"], False)
    shutil.rmtree(home.reports / "acme")
    assert "cannot be told from this ledger" in refused(home, "report", "build", "acme", "2025-09").err
    assert "cannot be told from this ledger" in refused(home, "status", "--as-of", "2025-09-30").err
    assert "cannot be told from this ledger" in refused(home, "query", "SELECT 1", "--as-of", "2025-09-30").err
    asking = said(home, "query", "SELECT DISTINCT period FROM calls ORDER BY 1", "--format", "json")
    assert json.loads(asking.out) == [{"period": "2025-10"}]
    assert "2025-09 and before were exported and dropped: no view has them." in asking.err
    assert asked(home.path, "SELECT dropped_through FROM ledger.meta") == [{"dropped_through": "2025-09"}]


def test_an_event_that_was_dropped_and_is_sent_again_is_known_also_when_the_files_of_ids_are_lost(home: Home) -> None:
    (call,) = (one for one in of(home, e.CallSettled) if isinstance(one, e.CallSettled) and one.ticket_id == "T-1")
    bare = e.CallSettled(**{name: getattr(call, name) for name in call.__struct_fields__ if name not in e.STAMPS})
    dropped(home)
    shutil.rmtree(home.ids)

    ledger = Ledger.open(home.path, clock=lambda: NOVEMBER)
    try:
        count = ledger.state.position
        ledger.append_now(bare)
        assert ledger.state.position == count
        with pytest.raises(Conflict, match="another fact was recorded under it"):
            ledger.append_now(
                e.CallSettled(**{name: getattr(bare, name) for name in bare.__struct_fields__} | {"cost_usd": "7"})
            )
    finally:
        ledger.close()
    assert ids.known_up_to(home) >= count - 1


def test_a_backup_of_it_verifies_and_a_restored_home_goes_on(home: Home) -> None:
    dropped(home)
    before = dump(home)

    backup(home, home.path.parent / "copy")
    back = Home(home.path.parent / "back")
    said(back, "restore", str(home.path.parent / "copy"))

    assert dump(back) == before
    assert verify(back).is_ok


def test_a_second_drop_goes_on_from_the_first(home: Home) -> None:
    dropped(home)
    ledger = Ledger.open(home.path, clock=lambda: LATER)
    ledger.append_now(month_closed(ledger.state, Stamp("closed-2", LATER), "acme", "2025-10"))
    ledger.close()
    before = dump(home)

    target = exported(home, "second", "2025-11")
    said(home, "drop", str(target), *WHY)

    manifest = manifests.load(home, REAL)
    assert calls_in(home) == set()
    assert [type(one).__name__ for one in read_all(home)].count("LogDropped") == 2
    assert manifest.files[0].dropped == 4 + 6  # two calls; two calls and an estimate
    assert verify(home).is_ok, [str(one) for one in verify(home).findings]
    rebuild(home, lambda: LATER)
    assert read_state(home).spend == snapshots.load(before).spend  # type: ignore[union-attr]


def test_calls_without_an_end_stay_until_they_have_one(home: Home) -> None:
    reserved = call("open-", day(9, 8))[0]
    append(home, reserved)  # the next start makes it an orphan
    dropped(home)

    (orphan,) = read_state(home).orphans.values()
    kept = [event for event in read_all(home) if event.subject == reserved.subject]
    assert orphan.subject == reserved.subject
    assert [type(event) for event in kept] == [e.CallReserved, e.CallOrphaned]
    assert {"call_id": reserved.subject} in asked(home.path, "SELECT call_id FROM calls")


def test_beside_a_running_service_it_is_the_same(home: Home) -> None:
    with gateway(home, "http://127.0.0.1:9"):
        dropped(home)
        assert calls_in(home) == {"2025-10"}
        assert asked(home.path, "SELECT DISTINCT period FROM calls") == [{"period": "2025-10"}]
        said(home, "client", "add", "beta")
    assert verify(home).is_ok
    before = dump(home)
    rebuild(home, lambda: NOVEMBER)
    assert dump(home) == before


def test_a_crash_at_any_step_leaves_one_of_two_whole_ledgers_and_the_drop_can_be_done_again(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = exported(home)
    count = len(list(read_all(home)))
    template = home.path.parent / "template"
    shutil.copytree(home.path, template)
    steps = _steps(home, target, monkeypatch, None)
    assert steps > 20

    for step in range(1, steps + 1, max(steps // STEPS, 1)):
        shutil.rmtree(home.path)
        shutil.copytree(template, home.path)
        _steps(home, target, monkeypatch, step)
        found = [event for event in read_all(home) if not isinstance(event, e.LogDropped)]
        assert len(found) in (count, count - 4), f"step {step}"
        assert verify(home).is_ok, f"step {step}: {[str(one) for one in verify(home).findings]}"
        if any(isinstance(event, e.CallSettled) and event.period == "2025-09" for event in found):
            again = commanded("drop", str(target), *WHY, "--home", str(home.path))
            if again.code:  # the first one was carried out by the start of the second
                assert "is not of this log as it is now" in again.err, f"step {step}: {again.err}"
        else:
            said(home, "seal")
        assert calls_in(home) == {"2025-10"}, f"step {step}"
        assert verify(home).is_ok, f"step {step}: {[str(one) for one in verify(home).findings]}"


def _steps(home: Home, target: Path, monkeypatch: pytest.MonkeyPatch, last: int | None) -> int:
    """Drop, ended before step `last` of all that change the disk; how many there are."""
    count = 0

    def counting(verb: str) -> Callable[..., Any]:
        real = getattr(disks.RealDisk, verb)

        def act(self: disks.RealDisk, *arguments: Any) -> Any:
            nonlocal count
            count += 1
            if last is not None and count >= last:
                raise OSError(errno.EIO, "the disk is gone")  # from here on, whoever asks
            return real(self, *arguments)

        return act

    with monkeypatch.context() as patched:
        for verb in ("create", "write", "rename", "unlink"):
            patched.setattr(disks.RealDisk, verb, counting(verb))
        try:
            state = read_state(home)
            plan = dropping.planned(home, target, state)
            event = dropping.prepare(home, plan, Stamp("dropped", NOVEMBER), WHY[1])
            ledger = Ledger.open(home.path, clock=lambda: NOVEMBER)
            try:
                ledger.append_now(event)
                ledger.seal()
            finally:
                ledger.close()
        except (OSError, LedgerError):
            if last is None:
                raise
    return count


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv"])
def test_a_file_of_one_clients_month_has_its_events_and_its_sum(home: Home, tmp_path: Path, kind: str) -> None:
    target = tmp_path / f"october.{kind}"
    expected = [event.id for event in read_all(home) if getattr(event, "period", None) == "2025-10"]

    shown = said(home, "export", kind, str(target), "--client", "acme", "--month", "2025-10")

    with duckdb.connect(":memory:") as connection:
        rows = connection.execute(f"SELECT event_id FROM '{target}'").fetchall()  # noqa: S608 -- a path of ours
    assert [name for (name,) in rows] == expected
    assert shown.out.split()[0] == hashlib.sha256(target.read_bytes()).hexdigest()
    assert target.stat().st_mode & 0o777 == 0o600
    assert "exists already" in refused(home, "export", kind, str(target)).err
