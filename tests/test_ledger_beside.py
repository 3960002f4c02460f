"""Every command that writes, beside a running service and without one: the same events, whoever has the lock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ledger import events as e
from ledger.home import Home
from ledger.segments import read_all
from ledger.verify import verify
from tests.made_home import MEDIUM
from tests.running import commanded, gateway
from tests.test_ledger_corrections import home as _home

home = _home
OWN = {"id", "time", "key_hash", "up_to_sequence", "correction", "corrects", *e.STAMPS}  # new in each, or of its log
BY_ITSELF = (e.ReportIssued, e.HeadSigned)  # what a service also writes unasked

# {file} is an invoice, {bill} an old bill; in this order, and each with the exit code it has.
WRITING: tuple[tuple[str, int], ...] = (
    ("client add beside --currency EUR --zone Asia/Tokyo --edit-rate 27.20", 0),
    ("key issue beside --role agent", 0),
    ("budget set beside 12.5 --soft --valid-from 2025-10-01", 0),
    ("budget set acme 1 --hard --valid-from 2025-01-01", 0),
    ("price add a/model --input 1 --output 2 --source a_test --valid-from 2025-01-01", 0),
    (f"price add {MEDIUM} --input 0.30 --output 1.00 --source invoice --valid-from 2025-09-15", 0),
    (f"price correct {MEDIUM}", 0),
    ("baseline set old@2026-01-01 --model openai/gpt-4o --valid-from 2025-01-01", 0),
    ("fx add EUR USD 1.16 --on 2026-10-30 --source ECB", 0),
    ("hours log acme --hours 2 --what setup --on 2025-10-02", 0),
    ("import openai {bill} --client acme", 0),
    ("reconcile {file} --client acme --month 2025-10", 4),
    ("close acme 2025-10", 0),
    ("close acme 2025-10 --restate again", 0),
    ("head sign", 0),
)


def told_apart(event: e.Event) -> dict[str, Any]:
    found = {name: getattr(event, name) for name in event.__struct_fields__ if name not in OWN}
    if isinstance(event, e.KeyIssued | e.KeyRevoked):
        found.pop("subject")
    if isinstance(event, e.BillImported):
        found.pop("import_id", None)
    return found | {"type": type(event).__name__}


def written_by(home: Home, path: Path) -> list[dict[str, Any]]:
    file, bill = path / "invoice.csv", path / "costs.csv"
    file.write_text(f"date,model,bucket,tokens,cost_usd\n2025-10-03,{MEDIUM},uncached_input,1000,0.0003\n")
    bill.write_text(
        "start_time,start_time_iso,end_time,end_time_iso,amount_value,amount_currency,line_item,project_id,organization_id\n"
        "1754265600,2025-08-04T00:00:00+00:00,1754352000,2025-08-05T00:00:00+00:00,1.5,usd,gpt-4o input,p,o\n"
    )
    before = {event.id for event in read_all(home)}
    for line, code in WRITING:
        words = [word.format(file=file, bill=bill) for word in line.split()]
        said = commanded(*words, "--home", str(home.path))
        assert said.code == code, f"{line}: {said.err}"
        if words[:2] == ["key", "issue"]:
            key_id = (
                said.out.strip().rsplit("_", 1)[0] if said.out.count("_") == 2 else "_".join(said.out.split("_")[:2])
            )
            revoked = commanded("key", "revoke", key_id, "--home", str(home.path))
            assert revoked.code == 0, revoked.err
    return [told_apart(e1) for e1 in read_all(home) if e1.id not in before and not isinstance(e1, BY_ITSELF)]


@pytest.fixture
def twin(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Home:
    """The same home once more."""
    made: Home = _home._get_wrapped_function()(tmp_path_factory.mktemp("twin"))
    return made


def test_every_writing_command_gives_the_same_events_beside_a_service_and_alone(
    home: Home, twin: Home, tmp_path: Path
) -> None:
    alone = written_by(home, tmp_path)
    with gateway(twin, "http://127.0.0.1:9"):
        beside = written_by(twin, tmp_path)

    assert beside == alone
    kinds = {one["type"] for one in alone}
    assert kinds >= {
        *("ClientAdded", "KeyIssued", "KeyRevoked", "BudgetSet", "PriceListed", "PriceCorrected", "CallCorrected"),
        *("MonthAdjusted", "BaselineSet", "FxRecorded", "HoursLogged", "BillImported", "InvoiceRecorded"),
        *("MonthClosed", "MonthRestated"),
    }
    assert verify(home).is_ok
    assert verify(twin).is_ok
