"""Every command of the front door: what it prints where, its exit code, its one sentence, and that a refusal writes nothing."""

from __future__ import annotations

import csv
import io
import json
import socket
import sys
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import typer

import halfpenny as front_door
from ledger import events as e
from ledger.errors import BudgetSpent, Damage, HomeError, InvalidInput, LedgerError, NotFound, UnpricedModel
from ledger.home import existing
from ledger.lock import owner
from ledger.money import usd
from ledger.output import exit_code
from ledger.segments import read_all
from tests.made_home import EPOCH
from tests.running import commanded, halfpenny

# {home} is a home with a client; {none} no home; {file} a regular file; {taken} a port in use.
REFUSED: tuple[tuple[str, int, str], ...] = (
    ("init --home {home}", 2, "is a Halfpenny home already"),
    ("init --home {none} --port 99999", 2, "--port"),
    ("init --home {none} --provider-url ftp://x", 2, "'ftp://x' is not an http or https address"),
    ("init --home {file}/below", 5, "cannot be written"),
    ("init --home {home}/reports --nonsense", 2, "--nonsense"),
    ("client add acme --home {home}", 2, "Client 'acme' exists already"),
    ("client add Acme! --home {home}", 2, "'Acme!' is not a client id"),
    ("client add whole --home {home}", 2, "names the budget above all clients"),
    ("client add b --zone Mars/Olympus --home {home}", 2, "'Mars/Olympus' is not a time zone"),
    ("client add b --zone ../../etc/passwd --home {home}", 2, "is not a time zone"),
    ("client add b --currency euro --home {home}", 2, "'euro' is not a currency"),
    ("client add b --edit-rate 1,5 --home {home}", 2, "'1,5' is not an amount of money"),
    ("client add b --edit-rate=-1 --home {home}", 2, "-1 is below zero"),
    ("client add --home {home}", 2, "Missing argument"),
    ("client list --home {none}", 5, "is not a Halfpenny home: halfpenny.toml is missing"),
    ("client list --format xml --home {home}", 2, "--format"),
    ("key issue nobody --home {home}", 2, "There is no client 'nobody'"),
    ("key issue acme --role king --home {home}", 2, "'king' is not a role"),
    ("key issue --home {home}", 2, "A key with role app belongs to a client"),
    ("key issue acme --role admin --home {home}", 2, "An admin key belongs to no client"),
    ("key revoke hp_nothing --home {home}", 2, "There is no key 'hp_nothing'"),
    ("key list --home {none}", 5, "is not a Halfpenny home"),
    ("price list --home {none}", 5, "is not a Halfpenny home"),
    ("price add m --home {home}", 2, "Missing option"),
    ("price add m --input x --output 1 --source s --home {home}", 2, "'x' is not an amount of money"),
    ("price add m --input nan --output 1 --source s --home {home}", 2, "'nan' is not an amount of money"),
    ("price add m --input=-1 --output 1 --source s --home {home}", 2, "a rate is never negative"),
    ("price add m --input 1 --output 1 --source= --home {home}", 2, "A price needs its source"),
    ("price add m --input 1 --output 1 --source s --valid-from soon --home {home}", 2, "'soon' is not a moment"),
    ("price add m --input 1 --output 1 --source s --valid-from 2026-01-02 --valid-to 2026-01-01 --home {home}", 2, "ends at"),
    ("price correct no/such --home {home}", 2, "no price of 'no/such'"),
    ("price correct --home {none}", 5, "is not a Halfpenny home"),
    ("price add m --input 1 --output 1 --source s --dry-run --home {none}", 5, "is not a Halfpenny home"),
    ("price list --as-of soon --home {home}", 2, "'soon' is not a moment"),
    ("status --as-of soon --home {home}", 2, "'soon' is not a moment"),
    ("query SELECT\u00a01 --as-of soon --home {home}", 2, "'soon' is not a moment"),
    ("budget show --as-of 2025 --home {home}", 2, "'2025' is not a moment"),
    ("budget set acme --home {home}", 2, "Say either an AMOUNT or --lift"),
    ("budget set acme 1 --lift --home {home}", 2, "Say either an AMOUNT or --lift"),
    ("budget set acme --home {home} -- -1", 2, "-1 is below zero"),
    ("budget set acme Infinity --home {home}", 2, "is not an amount of money"),
    ("budget set nobody 5 --home {home}", 2, "There is no client 'nobody'"),
    ("budget set hp_00000000 5 --home {home}", 2, "There is no key 'hp_00000000'"),
    ("budget show nobody --home {home}", 2, "There is no client 'nobody'"),
    ("budget show --month 2025-13 --home {home}", 2, "'2025-13' is not a month"),
    ("baseline set x --model no/such --home {home}", 2, "Model 'no/such' is not in the price book"),
    ("baseline show --home {none}", 5, "is not a Halfpenny home"),
    ("fx add EUR USD 0 --on 2026-10-30 --source ECB --home {home}", 2, "0 is not a rate"),
    ("fx add EUR EUR 1 --on 2026-10-30 --source ECB --home {home}", 2, "Name two currencies"),
    ("fx add eur USD 1 --on 2026-10-30 --source ECB --home {home}", 2, "'eur' is not a currency"),
    ("fx add EUR USD 1 --on soon --source ECB --home {home}", 2, "'soon' is not a moment"),
    ("events tail -n x --home {home}", 2, "-n"),
    ("events tail --home {none}", 5, "is not a Halfpenny home"),
    ("events show nothing --home {home}", 2, "There is no event, call or ticket 'nothing'"),
    ("verify --home {none}", 5, "is not a Halfpenny home"),
    ("seal --home {none}", 5, "is not a Halfpenny home"),
    ("rebuild --home {none}", 5, "is not a Halfpenny home"),
    ("verify --heads {none} --home {home}", 2, "There is no file of a signed head"),
    ("verify --public-key abc --home {home}", 2, "'abc' is not a public key"),
    ("head sign --home {none}", 5, "is not a Halfpenny home"),
    ("head list --home {none}", 5, "is not a Halfpenny home"),
    ("head key --home {none}", 5, "is not a Halfpenny home"),
    ("backup {file} --home {home}", 2, "exists already"),
    ("backup {none} --home {none}", 5, "is not a Halfpenny home"),
    ("doctor --home {none}", 5, "is not a Halfpenny home"),
    ("snapshot {none} --home {none}", 5, "is not a Halfpenny home"),
    ("snapshot {file} --home {home}", 2, "exists already"),
    ("export csv {none} --home {none}", 5, "is not a Halfpenny home"),
    ("export csv {file} --home {home}", 2, "exists already"),
    ("export xml {none} --home {home}", 2, "'xml'"),
    ("drop {none} --home {home}", 2, "Missing option"),
    ("drop {none} --reason contract --home {home}", 2, "export"),
    ("erase nobody --reason asked --home {home}", 2, "There is no client 'nobody'"),
    ("erase acme --home {home}", 2, "Missing option"),
    ("restore {none} --home {none}", 2, "There is no backup"),
    ("restore {file} --home {home}", 2, "is not empty"),
    ("restore {file} --home {none}", 4, "it cannot be unpacked"),
    ("status --home {none}", 5, "is not a Halfpenny home"),
    ("close acme 2999-01 --home {home}", 2, "Close it after that"),
    ("close acme october --home {home}", 2, "'october' is not a month"),
    ("close nobody 2025-01 --home {home}", 2, "There is no client 'nobody'"),
    ("report build nobody 2025-01 --home {home}", 2, "There is no client 'nobody'"),
    ("report build acme 2025 --home {home}", 2, "'2025' is not a month"),
    ("report build acme 2025-01 --home {home}", 2, "no rate between USD and EUR is recorded"),
    ("report list --home {none}", 5, "is not a Halfpenny home"),
    ("query SELEC --home {home}", 2, "Parser Error"),
    ("query DROP\u00a0VIEW\u00a0events --home {home}", 2, "Ask one SELECT"),
    ("query SELECT\u00a01;SELECT\u00a02 --home {home}", 2, "Ask one SELECT"),
    ("query --home {home}", 2, "Missing argument"),
    ("serve --home {none}", 5, "is not a Halfpenny home"),
    ("serve --home {home} --config {none}", 2, "does not exist"),
    ("serve --home {home} --clock sundial", 2, "HALFPENNY_SERVER_CLOCK"),
    ("serve --home {home} --port {taken}", 5, "Cannot listen on 127.0.0.1:{taken}"),
    ("simulate --port 0 --fault plague=1", 2, "'plague=1' is no fault"),
    ("demo --home {home}", 2, "exists and is not a demo's"),
    ("demo --home {none} --month 2025-13", 2, "'2025-13' is not a month"),
    ("policy set acme best --home {home}", 2, "'best' is no policy"),
    ("policy set nobody paced --home {home}", 2, "There is no client 'nobody'"),
    ("policy set acme floor --home {home}", 2, "needs target_quality"),
    ("policy set acme fixed --share standard=0.5 --home {home}", 2, "must sum to 1"),
    ("policy set acme fixed --share gold=1 --home {home}", 2, "'gold'"),
    ("policy show nobody --home {home}", 2, "There is no client 'nobody'"),
    ("forecast nobody --home {home}", 2, "client 'nobody'"),
    ("forecast --at noon --home {home}", 2, "'noon' is not a time"),
    ("forecast --at 2026-11-23T12:00:00 --home {home}", 2, "has no time zone"),
    ("whatif --policy fixed:0.5 --month 2026-13 --home {home}", 2, "2026-13"),
    ("whatif --policy fixed:0.5 --month 2026-10 --client nobody --home {home}", 2, "client 'nobody'"),
    ("whatif --policy fixed:0.5 --month 2026-10 --client acme --home {home}", 2, "no routed ticket"),
    ("whatif --policy best --month 2026-10 --client acme --home {home}", 2, "'best' is not known"),
    ("explain nothing --home {home}", 2, "There is no routed call 'nothing'"),
    ("hours log --nonsense", 2, "--nonsense"),
    ("hours list --nonsense", 2, "--nonsense"),
    ("import openai {none} --client acme --home {home}", 2, "Name the export you downloaded"),
    ("reconcile --nonsense", 2, "--nonsense"),
    ("orphan list --nonsense", 2, "--nonsense"),
    ("orphan settle nothing --at-hold --home {home}", 2, "There is no call of unknown end 'nothing'"),
    ("orphan settle nothing --input-tokens 5 --home {home}", 2, "or --at-hold where nobody knows"),
    ("orphan settle nothing --at-hold --cached-tokens 5 --home {home}", 2, "or --at-hold where nobody knows"),
    ("orphan settle nothing --input-tokens 5 --output-tokens 1 --cached-tokens 6 --home {home}", 2, "more than the 5"),
    ("orphan void nothing --reason lost --home {home}", 2, "There is no call of unknown end 'nothing'"),
    ("orphan void nothing --reason \u00a0 --home {home}", 2, "The reason is empty"),
    ("report send --nonsense", 2, "--nonsense"),
    ("report diff --nonsense", 2, "--nonsense"),
    ("nonsense", 2, "No such command"),
)  # fmt: skip


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    path = tmp_path_factory.mktemp("commands")
    home = path / "home"
    assert commanded("init", "--home", str(home)).code == 0
    assert commanded("client", "add", "acme", "--home", str(home)).code == 0
    (path / "file").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        yield {"home": str(home), "none": str(path / "none"), "file": str(path / "file"), "taken": port}


@pytest.mark.parametrize(("line", "code", "sentence"), REFUSED, ids=[case[0] for case in REFUSED])
def test_a_refusal_has_its_code_says_why_on_stderr_and_writes_nothing(
    places: Mapping[str, str], line: str, code: int, sentence: str
) -> None:
    before = [event.hash for event in read_all(existing(Path(places["home"])))]

    said = commanded(*(word.format(**places).replace("\u00a0", " ") for word in line.split(" ")))

    assert said.code == code, said.err
    assert said.out == ""
    assert sentence.format(**places) in " ".join(said.err.replace("│", " ").split()), said.err
    assert "Traceback" not in said.err
    if said.err.startswith("halfpenny: ") and "Error" not in said.err:
        assert said.err.count("\n") == 1, "more than one sentence's line"
        assert said.err.endswith(".\n")
    assert [event.hash for event in read_all(existing(Path(places["home"])))] == before
    assert not Path(places["none"]).exists()


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command by its words."""
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from leaves(inner, (*path, name))
    else:
        yield path


COMMANDS = tuple(leaves(typer.main.get_command(front_door.app)))


def test_every_command_has_a_refusal_above() -> None:
    tried = {tuple(line.split(" ")[: len(words)]) for words in COMMANDS for line, _, _ in REFUSED}

    assert {" ".join(words) for words in COMMANDS if words not in tried} == set()


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_on_stdout(words: tuple[str, ...]) -> None:
    said = commanded(*words, "--help")

    assert (said.code, said.err) == (0, "")
    assert "Usage:" in said.out
    assert commanded(*words, "-h") == said


def test_a_new_home_takes_a_month_by_commands_alone(tmp_path: Path) -> None:
    """Data alone is on stdout, so that it can be piped; what is for people is on stderr."""
    at = ("--home", str(tmp_path / "home"))

    def out(*arguments: str) -> str:
        said = commanded(*arguments, *at)
        assert said.code == 0, said.err
        return said.out

    assert out("init", "--provider-url", "http://127.0.0.1:9/v1", "--provider-key-env", "MY_KEY", "--port", "0") == ""
    assert (
        out("client", "add", "acme", "--currency", "USD", "--zone", "Asia/Tokyo", "--edit-rate", "27.20", "--private")
        == ""
    )
    key = out("key", "issue", "acme", "--role", "app")
    assert key.startswith("hp_")
    assert key.count("\n") == 1
    key_id = "_".join(key.split("_")[:2])
    assert out("key", "issue", "--role", "admin").startswith("hp_")
    assert out("budget", "set", "acme", "300", "--hard") == ""
    assert out("budget", "set", "whole", "0.5", "--soft") == ""
    assert out("budget", "set", key_id, "12.5") == ""
    assert out("budget", "set", key_id, "--lift") == ""
    assert out("price", "add", "a/model", "--input", "0.15", "--output", "0.60", "--source", "a page") == ""
    assert out("baseline", "set", "old@2025-01-01", "--model", "openai/gpt-4o", "--valid-from", "2025-01-01") == ""
    assert out("fx", "add", "EUR", "USD", "1.1604", "--on", "2026-10-30", "--source", "ECB") == ""
    assert out("key", "revoke", key_id) == ""
    clients = json.loads(out("client", "list", "--format", "json"))
    assert clients == [
        {
            "client_id": "acme",
            "name": "acme",
            "currency": "USD",
            "zone": "Asia/Tokyo",
            "edit_usd_per_hour": "27.2",
            "private": True,
        }
    ]
    keys = list(csv.DictReader(io.StringIO(out("key", "list", "--format", "csv"))))
    assert [(row["key_id"], row["revoked"]) for row in keys if row["role"] == "app"] == [(key_id, "True")]
    assert key.strip() not in out("key", "list")
    (price,) = json.loads(out("price", "list", "a/model", "--format", "json"))
    assert (price["uncached_input_usd"], price["cache_read_usd"], price["plain_output_usd"]) == ("0.15", "0.15", "0.6")
    (account,) = json.loads(out("budget", "show", "acme", "--format", "json"))
    assert (account["granted_usd"], account["available_usd"]) == ("300", "300")
    (baseline,) = json.loads(out("baseline", "show", "--format", "json"))
    assert (baseline["baseline_id"], baseline["input_usd"]) == ("old@2025-01-01", "2.5")
    assert out("seal") == ""
    assert out("close", "acme", "2025-01") == ""
    assert out("rebuild") == ""
    assert json.loads(out("verify", "--format", "json"))["ok"] is True
    assert out("verify") == ""
    (last,) = json.loads(out("events", "tail", "-n", "1", "--format", "json"))
    assert (last["type"], last["period"]) == ("halfpenny.month.closed.v1", "2025-01")
    assert json.loads(out("events", "show", last["id"])) == [last]
    status = json.loads(out("status", "--format", "json"))
    assert (status["service"], status["holds"], status["orphans"]) == (None, [], [])
    assert status["position"] == last["sequence"]
    built = json.loads(out("report", "build", "acme", "2025-01", "--format", "json", "-o", str(tmp_path / "out")))
    assert (built["revision"], built["status"], built["is_new"]) == (1, "final", True)
    assert (tmp_path / "out" / "report.json").is_file()
    assert out("report", "build", "acme", "2025-01").splitlines() == list(built["paths"].values())
    (issued,) = json.loads(out("report", "list", "--format", "json"))
    assert (issued["client_id"], issued["period"], issued["revision"]) == ("acme", "2025-01", 1)
    counted = json.loads(out("query", "SELECT count(*) AS n, max(sequence) AS last FROM events", "--format", "json"))
    assert counted[0]["n"] == counted[0]["last"] == status["position"] + 1
    kinds = {type(event) for event in read_all(existing(tmp_path / "home"))}
    assert kinds == {
        e.PriceListed, e.BaselineSet, e.ClientAdded, e.KeyIssued, e.KeyRevoked, e.BudgetSet, e.FxRecorded, e.MonthClosed,
        e.ReportIssued,
    }  # fmt: skip


def test_a_changed_event_is_exit_4_named_on_stdout_and_stops_whoever_would_write(tmp_path: Path) -> None:
    home = tmp_path / "home"
    commanded("init", "--home", str(home))
    file = next(path for path in sorted((home / "journal").iterdir()) if path.stat().st_size)
    file.write_bytes(file.read_bytes().replace(b'"rate_plain_output":"10"', b'"rate_plain_output":"11"', 1))

    checked = commanded("verify", "--home", str(home))
    writing = commanded("client", "add", "acme", "--home", str(home))

    assert checked.code == 4
    assert file.name in checked.out
    assert writing.code == 4
    assert writing.err.startswith("halfpenny: ")
    assert f"{file} is damaged at byte" in writing.err


def test_a_baseline_is_set_again_as_it_is_and_changed_under_another_name_only(tmp_path: Path) -> None:
    at = ("--home", str(tmp_path / "home"))
    commanded("init", *at)
    words = ("baseline", "set", "gpt-4o@2026-10-01", "--model")

    again = commanded(*words, "openai/gpt-4o", *at)
    other = commanded(*words, "deepseek-ai/DeepSeek-V4-Flash", *at)
    renamed = commanded("baseline", "set", "flash@2026-11-01", "--model", "deepseek-ai/DeepSeek-V4-Flash", *at)

    assert (again.code, other.code, renamed.code) == (0, 2, 0), other.err
    assert "is frozen at 2.5 in, 10 out for openai/gpt-4o" in other.err


def test_an_altered_report_is_exit_4(tmp_path: Path) -> None:
    at = ("--home", str(tmp_path / "home"))
    commanded("init", *at)
    commanded("client", "add", "acme", "--currency", "USD", *at)
    built = json.loads(commanded("report", "build", "acme", "2025-01", "--format", "json", *at).out)
    Path(built["paths"]["report.csv"]).write_text("spend,0\n", encoding="utf-8")

    again = commanded("report", "build", "acme", "2025-01", *at)

    assert (again.code, again.out) == (4, "")
    assert "report.csv is not what was built" in again.err


def test_each_kind_of_trouble_has_its_exit_code() -> None:
    spent = BudgetSpent(
        scope="acme",
        period="2026-10",
        cap=usd("1"),
        settled=usd("1"),
        held=Decimal(0),
        orphaned=Decimal(0),
        wanted=usd("1"),
    )
    cases = (
        (LedgerError("x"), 1), (InvalidInput("x"), 2), (NotFound("client", "x", "y"), 2),
        (UnpricedModel("m", EPOCH, is_known=True), 2), (spent, 3), (Damage("f", "x"), 4), (HomeError("x"), 5),
    )  # fmt: skip

    assert [exit_code(trouble) for trouble, _ in cases] == [code for _, code in cases]


@pytest.mark.parametrize(
    ("toml", "sentence"),
    [
        ("[server]\nprot = 1\n", "unknown key 'prot' in [server]"),
        ("[sever]\nport = 1\n", "unknown key 'sever'"),
        ("[journal]\nrotate_events = 0\n", "journal.rotate_events: expected `int` >= 1"),
        ("[server\n", "is not TOML"),
        ("[server]\nhost = 80\n", "server.host: expected `str`, got `int`"),
        ("[reports]\nprepared = 'me'\n", "reports"),
    ],
)
def test_a_config_that_cannot_be_taken_is_exit_2_in_one_sentence_and_nothing_is_written(
    tmp_path: Path, places: Mapping[str, str], toml: str, sentence: str
) -> None:
    home = tmp_path / "home"
    commanded("init", "--home", str(home))
    (home / "halfpenny.toml").write_text(toml, encoding="utf-8")
    lock = home / "LOCK"  # taken while the configuration is read, and let go
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file() and path != lock}

    # On a port that is taken, so that a config that is taken after all ends with 5 and does not serve for ever.
    said = commanded("serve", "--home", str(home), "--port", places["taken"])

    assert (said.code, said.out) == (2, "")
    assert sentence in said.err
    assert said.err.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file() and path != lock} == before
    assert owner(lock) is None


def test_a_real_process_says_the_same(places: Mapping[str, str]) -> None:
    """With warnings as errors, and the home named by the environment."""
    listed = halfpenny("client", "list", "--format", "json", HALFPENNY_HOME=places["home"])
    refused = halfpenny("client", "add", "acme", HALFPENNY_HOME=places["home"])

    assert (listed.returncode, listed.stderr) == (0, "")
    assert [row["client_id"] for row in json.loads(listed.stdout)] == ["acme"]
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "halfpenny: Client 'acme' exists already. Choose another id.\n"


def test_the_demo_without_its_customers_library_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("router.demo_")]:
        monkeypatch.delitem(sys.modules, name)
        monkeypatch.delattr(name, raising=False)
    monkeypatch.setitem(sys.modules, "openai", None)

    said = commanded("demo", "--home", str(tmp_path / "home"))

    assert (said.code, said.err) == (
        2,
        "halfpenny: The demo's customer needs the library openai. Install it with: pip install 'halfpenny[demo]'.\n",
    )
    assert not (tmp_path / "home").exists()
