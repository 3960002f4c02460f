"""Reports that go out: a mail with the PDF in it, a signed webhook, each once, and again only by the same id."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiosmtpd.controller import Controller
from typer.testing import CliRunner

from halfpenny import app
from ledger import events as e
from ledger.errors import InvalidInput
from ledger.home import Home, create
from ledger.segments import read_all
from ledger.store import Ledger
from ledger.webhooks import signature
from reports.build import build
from reports.cli import described
from reports.couriers import Couriers, NotDelivered
from reports.delivery import wanted
from reports.errors import Altered
from reports.job import issued
from reports.places import directory_of
from reports.settings import of_home, read_settings
from tests.made_home import EPOCH, MEDIUM, Book

NOW = datetime(2025, 10, 2, 6, tzinfo=UTC)
SECRET = "a secret of the freelancer"
ENVIRONMENT = {"HALFPENNY_WEBHOOK_SECRET": SECRET}
NASTY = "Acme <script>alert(1)</script>\r\nBcc: eve@example.org"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with September closed, built and issued."""
    b = Book()
    b.client(NASTY)
    b.baseline()
    b.call("generation", MEDIUM, datetime(2025, 9, 5, 12, tzinfo=UTC), (20_000, 3_000))
    b.close("2025-09")
    home = create(tmp_path_factory.mktemp("built") / "home", "")
    ledger = Ledger.open(home.path, clock=lambda: EPOCH)
    for event in b.events:
        ledger.append_now(event)
    ledger.close()
    found = build(home.path, "acme", "2025-09")
    ledger = Ledger.open(home.path, clock=lambda: EPOCH)
    ledger.append_now(issued(described(found), NOW))
    ledger.close()
    return home.path


@pytest.fixture
def home(built: Path, tmp_path: Path) -> Home:
    return Home(shutil.copytree(built, tmp_path / "home"))


def told(home: Home, settings: str) -> None:
    home.config.write_text(settings, encoding="utf-8")


class Mailbox:
    """A real SMTP server's handler. `refusals` are answered first, one a mail."""

    def __init__(self, *refusals: str) -> None:
        self.mails: list[EmailMessage] = []
        self.refusals = list(refusals)

    async def handle_DATA(self, _: Any, __: Any, envelope: Any) -> str:
        if self.refusals:
            return self.refusals.pop(0)
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"


@contextmanager
def smtp(home: Home, box: Mailbox, *addresses: str) -> Iterator[None]:
    """The server on loopback, and the home told of it."""
    with socket.socket() as free:  # aiosmtpd takes no port 0
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        told(
            home,
            f'[reports.mail]\nhost = "127.0.0.1"\nport = {port}\nsecurity = "none"\nsender = "reports@example.com"\n'
            f"[reports.delivery.acme]\nmail_to = {json.dumps(addresses)}\n",
        )
        yield
    finally:
        controller.stop()


@asynccontextmanager
async def hooked(home: Home, *statuses: int) -> AsyncIterator[list[tuple[dict[str, str], bytes]]]:
    """A webhook's receiver that answers with these statuses in turn, then 204; what it got."""
    got: list[tuple[dict[str, str], bytes]] = []
    answers = list(statuses)

    async def take(request: web.Request) -> web.Response:
        got.append(({name.lower(): value for name, value in request.headers.items()}, await request.read()))
        return web.Response(status=answers.pop(0) if answers else 204, headers={"location": "http://127.0.0.1:9/"})

    receiver = web.Application()
    receiver.router.add_post("/hook", take)
    async with TestServer(receiver, host="127.0.0.1") as server:
        told(home, f'[reports.delivery.acme]\nwebhook_url = "{server.make_url("/hook")}"\n')
        yield got


async def turn(home: Home, moment: datetime = NOW, **more: Any) -> int:
    """One turn of the job's deliveries; waits are not waited."""
    ledger = Ledger.open(home.path, clock=lambda: moment)
    try:
        return await couriers(home, moment, **more).deliver_due(ledger.state, more.get("append", ledger.append))
    finally:
        ledger.close()


def couriers(home: Home, moment: datetime, *, waits: list[float] | None = None, **_: Any) -> Couriers:
    async def sleep(seconds: float) -> None:
        if waits is not None:
            waits.append(seconds)

    return Couriers(home, ENVIRONMENT, lambda: moment, sleep=sleep)


def recorded(home: Home) -> list[e.ReportDelivered]:
    return [event for event in read_all(home) if isinstance(event, e.ReportDelivered)]


@pytest.mark.anyio
async def test_a_real_smtp_server_receives_the_summary_and_the_pdf_once(home: Home) -> None:
    box = Mailbox()
    with smtp(home, box, "boss@acme.example", "desk@acme.example"):
        first, second = await turn(home), await turn(home)

    assert (first, second, len(box.mails)) == (2, 0, 2)
    mail = box.mails[0]
    pdf = (directory_of(home, "acme", "2025-09") / "r1" / "report.pdf").read_bytes()
    (attached,) = mail.iter_attachments()
    assert attached.get_content() == pdf
    assert attached.get_filename() == "acme-2025-09-r1.pdf"
    text, page = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text is not None
    assert page is not None
    report = json.loads((directory_of(home, "acme", "2025-09") / "r1" / "report.json").read_bytes())
    assert (
        len(text.get_content().rstrip("\n").splitlines()) == 10
    )  # eight lines of summary, an empty one, where the rest is
    assert f"Spend: {report['totals']['spend']} USD" in text.get_content()
    assert report["sentence"] in text.get_content()
    assert [one.channel for one in recorded(home)] == ["mail", "mail"]


@pytest.mark.anyio
async def test_a_hostile_name_adds_no_header_and_no_markup(home: Home) -> None:
    box = Mailbox()
    with smtp(home, box, "boss@acme.example"):
        await turn(home)

    (mail,) = box.mails
    page = mail.get_body(("html",))
    assert page is not None
    assert mail["Bcc"] is None
    assert (mail["To"], mail["From"]) == ("boss@acme.example", "reports@example.com")
    assert "<script" not in page.get_content()
    assert "&lt;script&gt;" in page.get_content()


@pytest.mark.anyio
async def test_no_address_is_kept_in_the_ledger(home: Home) -> None:
    with smtp(home, Mailbox(), "boss@acme.example"):
        await turn(home)

    written = b"".join(path.read_bytes() for path in home.journal.iterdir())
    assert b"boss@acme.example" not in written
    assert len(recorded(home)[0].target) == 64


@pytest.mark.anyio
async def test_a_mail_that_is_refused_for_now_is_tried_again_with_doubled_waits(home: Home) -> None:
    box, waits = Mailbox("451 Try later", "451 Try later"), list[float]()
    with smtp(home, box, "boss@acme.example"):
        assert await turn(home, waits=waits) == 1

    assert waits == [1.0, 2.0]
    assert (len(box.mails), recorded(home)[0].attempts) == (1, 3)


@pytest.mark.anyio
async def test_a_mail_that_is_refused_for_good_is_not_repeated_and_the_others_go_on(home: Home) -> None:
    box, waits = Mailbox("550 No such user"), list[float]()
    with (
        smtp(home, box, "gone@acme.example", "boss@acme.example"),
        pytest.raises(NotDelivered, match="was not taken by mail: SMTP 550"),
    ):
        await turn(home, waits=waits)

    assert (waits, len(box.mails), len(recorded(home))) == ([], 1, 1)


@pytest.mark.anyio
async def test_a_crash_between_sending_and_recording_repeats_the_same_id(home: Home) -> None:
    box = Mailbox()

    async def crash(_: e.Event) -> None:
        raise RuntimeError("killed here")

    with smtp(home, box, "boss@acme.example"):
        with pytest.raises(RuntimeError):
            await turn(home, append=crash)
        assert await turn(home) == 1

    first, second = box.mails
    assert first["Message-ID"] == second["Message-ID"] == f"<{recorded(home)[0].message_id}@example.com>"
    assert first["Date"] == second["Date"]


@pytest.mark.anyio
async def test_a_webhook_is_signed_over_its_raw_body_its_id_and_its_time(home: Home) -> None:
    async with hooked(home) as got:
        assert (await turn(home), await turn(home)) == (1, 0)

    ((headers, body),) = got
    signed = b".".join((headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body))
    digest = base64.b64encode(hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{digest}"
    assert headers["webhook-timestamp"] == str(int(NOW.timestamp()))
    assert headers["webhook-id"] == recorded(home)[0].message_id
    said = json.loads(body)
    assert (said["client_id"], said["period"], said["revision"], said["status"]) == ("acme", "2025-09", 1, "final")
    assert said["path"] == "/v1/reports/acme/2025-09.json?revision=1"


def test_a_signature_changes_with_body_time_id_and_secret() -> None:
    base = (b"key", "id", 1, b"body")
    others = [
        (b"kez", "id", 1, b"body"),
        (b"key", "ie", 1, b"body"),
        (b"key", "id", 2, b"body"),
        (b"key", "id", 1, b"bodz"),
    ]

    assert len({signature(*one) for one in (base, *others)}) == 5


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("statuses", "calls", "taken"),
    [((500, 503), 3, True), ((429,), 2, True), ((400,), 1, False), ((307,), 1, False), ((500,) * 9, 4, False)],
)
async def test_what_a_receiver_answers_decides_whether_it_is_tried_again(
    statuses: tuple[int, ...], calls: int, taken: bool, home: Home
) -> None:
    async with hooked(home, *statuses) as got:
        if taken:
            assert await turn(home) == 1
        else:
            with pytest.raises(NotDelivered, match=f"HTTP {statuses[0]}"):
                await turn(home)

    assert len(got) == calls
    assert len({headers["webhook-id"] for headers, _ in got}) == 1
    assert len(recorded(home)) == taken


@pytest.mark.anyio
async def test_after_a_failure_the_next_turns_wait_longer_and_longer(home: Home) -> None:
    """10 minutes, then 20, then 40: a turn before that does not knock."""
    moments = [NOW + timedelta(minutes=minutes) for minutes in (0, 9, 10, 29, 30, 69, 70)]
    clock = iter(moments)
    async with hooked(home, *(400,) * 9) as got:
        current = [NOW]
        sender = Couriers(home, ENVIRONMENT, lambda: current[0])
        ledger = Ledger.open(home.path, clock=lambda: NOW)
        knocks = []
        try:
            for current[0] in clock:
                before = len(got)
                with suppress(NotDelivered):
                    await sender.deliver_due(ledger.state, ledger.append)
                knocks.append(len(got) - before)
        finally:
            ledger.close()

    assert knocks == [1, 0, 1, 0, 1, 0, 1]


@pytest.mark.anyio
async def test_without_its_secret_nothing_is_sent(home: Home) -> None:
    async with hooked(home) as got:
        ledger = Ledger.open(home.path, clock=lambda: NOW)
        try:
            with pytest.raises(InvalidInput, match="HALFPENNY_WEBHOOK_SECRET is not set"):
                await Couriers(home, {}, lambda: NOW).deliver_due(ledger.state, ledger.append)
        finally:
            ledger.close()

    assert got == []


@pytest.mark.anyio
async def test_an_altered_report_is_not_sent(home: Home) -> None:
    path = directory_of(home, "acme", "2025-09") / "r1" / "report.json"
    path.write_bytes(path.read_bytes().replace(b"acme", b"acne"))
    async with hooked(home) as got:
        with pytest.raises(Altered):
            await turn(home)

    assert got == []


def test_drafts_and_old_reports_stay_at_home_unless_asked_for(home: Home) -> None:
    settings = read_settings({"delivery": {"acme": {"webhook_url": "https://acme.example/hook"}}})
    drafts = read_settings({"delivery": {"acme": {"webhook_url": "https://acme.example/hook", "drafts": True}}})
    event = e.ReportIssued(
        id="1", subject="acme", client_id="acme", time=NOW, period="2025-09", revision=1, up_to_sequence=1,
        report_sha256="0a" * 32, status="draft",
    )  # fmt: skip
    ledger = Ledger.open(home.path, clock=lambda: NOW)
    state = ledger.state
    ledger.close()

    assert [one.issued.status for one in wanted(state, settings, b"p", NOW)] == ["final"]
    assert wanted(state, settings, b"p", NOW + timedelta(days=7)) == ()
    state.issued["acme", "2025-09"] = event
    assert wanted(state, settings, b"p", NOW) == ()
    assert len(wanted(state, drafts, b"p", NOW)) == 1


@pytest.mark.parametrize(
    "section",
    [
        {"mail": {"host": "h", "sender": "a@b\r\nBcc: c@d"}},
        {"delivery": {"acme": {"mail_to": ["a@b, c@d"]}}},
        {"delivery": {"acme": {"webhook_url": "http://169.254.169.254/"}}},
        {"delivery": {"acme": {"webhook_url": "file:///etc/passwd"}}},
        {"delivery": {"acme": {"webhok_url": "https://x"}}},
        {"final_day": 31},
    ],
)
def test_what_cannot_be_a_recipient_is_refused(section: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=r"\[reports\] in halfpenny.toml"):
        read_settings(section)


def test_the_command_sends_once_and_again_only_when_told_to(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    box = Mailbox()
    asked: Callable[..., Any] = lambda *more: CliRunner().invoke(  # noqa: E731
        app, ["report", "send", "acme", "2025-09", "--home", str(home.path), *more]
    )
    nobody = asked()
    with smtp(home, box, "boss@acme.example"):
        sent, repeated, again = asked(), asked(), asked("--again")

    assert "Nobody is to get reports of acme" in str(nobody.exception)
    assert [one.exit_code for one in (sent, repeated, again)] == [0, 0, 0], sent.output
    assert "delivered before" in repeated.output
    assert len(box.mails) == 2
    assert box.mails[0]["Message-ID"] == box.mails[1]["Message-ID"]
    assert len(recorded(home)) == 1
    assert of_home(home).mail is not None
