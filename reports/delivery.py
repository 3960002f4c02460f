"""What is still to be delivered to whom, and what each delivery says; pure.

A final revision goes to every recipient once: its report.delivered event takes it off the list. Between the sending and
the event a crash may fall, so a recipient may get it twice, never not at all; both times it bears the same id
(Message-ID, webhook-id), by which a receiver can drop what it has.
"""

from __future__ import annotations

import hashlib
import hmac
import html
import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any, Literal, NamedTuple

from ledger.closings import Delivery
from ledger.events import ReportDelivered, ReportIssued
from ledger.projections import State
from reports.display import legible
from reports.settings import Settings

GIVEN_UP_AFTER = timedelta(days=7)  # after that only `halfpenny report send` tries
ATTACHED_BYTES = 15_000_000  # more is refused by most mail servers
WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "draft": "draft",
        "final": "final",
        "restated": "restated",
        "spend": "Spend",
        "baseline": "Before (old bot, same calls)",
        "saved": "Saved",
        "tickets": "Replies",
        "attached": "The whole report is attached as a PDF; its figures are inside it as report.json.",
        "pull": "The whole report is too large for a mail; get it from the service.",
        "unknown": "not known",
        "revision": "revision",
        "report": "LLM report",
    },
    "de": {
        "draft": "Entwurf",
        "final": "endgültig",
        "restated": "berichtigt",
        "spend": "Ausgaben",
        "baseline": "Zuvor (alter Bot, dieselben Aufrufe)",
        "saved": "Gespart",
        "tickets": "Antworten",
        "attached": "Der ganze Bericht hängt als PDF an; seine Zahlen stehen darin als report.json.",
        "pull": "Der ganze Bericht ist für eine Mail zu groß; der Dienst gibt ihn heraus.",
        "unknown": "nicht bekannt",
        "revision": "Fassung",
        "report": "LLM-Bericht",
    },
}


class Wanted(NamedTuple):
    """One delivery to make. Shapes: `target` is the address's keyed hash, which is all the ledger keeps of it."""

    issued: ReportIssued
    channel: Literal["mail", "webhook"]
    address: str
    target: str

    @property
    def key(self) -> Delivery:
        """What is delivered once."""
        return Delivery(self.issued.subject, self.issued.period, self.issued.revision, self.channel, self.target)

    @property
    def message_id(self) -> str:
        """The same on every attempt, and another for every revision and recipient."""
        said = "\0".join((*map(str, self.key), self.issued.report_sha256))
        return f"halfpenny-{hashlib.sha256(said.encode()).hexdigest()[:32]}"


def wanted(state: State, settings: Settings, pepper: bytes, moment: datetime) -> tuple[Wanted, ...]:
    """Everything issued of late that a recipient has not got, oldest month first."""
    fresh = (event for event in state.issued.values() if event.time > moment - GIVEN_UP_AFTER)
    return tuple(
        one
        for event in sorted(fresh, key=lambda event: (event.period, event.subject))
        if event.status == "final" or _takes_drafts(settings, event)
        for one in addressed(event, settings, pepper)
        if one.key not in state.closings.delivered
    )


def _takes_drafts(settings: Settings, event: ReportIssued) -> bool:
    recipients = settings.delivery.get(event.subject)
    return recipients is not None and recipients.drafts


def addressed(event: ReportIssued, settings: Settings, pepper: bytes) -> Iterable[Wanted]:
    """The deliveries of one revision to all its recipients."""
    recipients = settings.delivery.get(event.subject)
    if recipients is None:
        return
    if settings.mail is not None:
        for address in recipients.mail_to:
            yield Wanted(event, "mail", address, target_of(pepper, address))
    if recipients.webhook_url:
        yield Wanted(event, "webhook", recipients.webhook_url, target_of(pepper, recipients.webhook_url))


def target_of(pepper: bytes, address: str) -> str:
    """What is kept of an address: HMAC-SHA-256 in hex."""
    return hmac.new(pepper, b"delivery to " + address.encode(), hashlib.sha256).hexdigest()


def delivered(one: Wanted, event_id: str, moment: datetime, attempts: int) -> ReportDelivered:
    """The fact that it was taken."""
    return ReportDelivered(
        id=event_id,
        subject=one.issued.subject,
        client_id=one.issued.subject,
        time=moment,
        period=one.issued.period,
        revision=one.issued.revision,
        report_sha256=one.issued.report_sha256,
        channel=one.channel,
        target=one.target,
        message_id=one.message_id,
        attempts=attempts,
    )


def summary(report: Mapping[str, Any]) -> tuple[str, ...]:
    """Eight lines of report.json's own figures, in its language. Shapes: what is not known is said to be so."""
    words = WORDS.get(str(report.get("language")), WORDS["en"])
    totals, code = report["totals"], report["currency"]["code"]

    def money(name: str) -> str:
        found = totals.get(name)
        return words["unknown"] if found is None else f"{found} {code}"

    status = words.get(str(report["status"]), str(report["status"]))
    return (
        f"{legible(report['client']['name'])}, {report['period']['name']}: {status}, {words['revision']} {report['revision']}",
        "",
        legible(str(report["sentence"]), 800),
        "",
        f"{words['tickets']}: {totals['replies']}",
        f"{words['spend']}: {money('spend')}",
        f"{words['baseline']}: {money('baseline')}",
        f"{words['saved']}: {money('saved')}",
    )


def mail(one: Wanted, sender: str, written: bytes, pdf: bytes) -> EmailMessage:
    """The mail of a revision: eight lines as text and as HTML, and the PDF. Shapes: `written` is its report.json."""
    report = json.loads(written)
    words = WORDS.get(str(report.get("language")), WORDS["en"])
    lines = summary(report)
    is_attached = len(pdf) <= ATTACHED_BYTES
    last = words["attached" if is_attached else "pull"]
    message = EmailMessage(policy=SMTP)
    message["From"], message["To"] = sender, one.address
    message["Subject"] = f"{words['report']}: {lines[0]}"[:200]
    message["Date"] = format_datetime(one.issued.time)
    message["Message-ID"] = f"<{one.message_id}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("\n".join((*lines, "", last)) + "\n")
    body = "".join(f"<p>{html.escape(line)}</p>" for line in (*lines, last) if line)
    message.add_alternative(
        f'<!DOCTYPE html><html><head><meta charset="utf-8"></head><body>{body}</body></html>', subtype="html"
    )
    if is_attached:
        name = f"{_plain(one.issued.subject)}-{one.issued.period}-r{one.issued.revision}.pdf"
        message.add_attachment(pdf, maintype="application", subtype="pdf", filename=name)
    return message


def _plain(name: str) -> str:
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in "_-") else "_" for letter in name)[:63]


def payload(one: Wanted, written: bytes) -> bytes:
    """The webhook's raw body: what was issued, its headline figures, and where to pull the rest."""
    report = json.loads(written)
    issued = one.issued
    said = {
        "type": "report.issued",
        "client_id": issued.subject,
        "period": issued.period,
        "revision": issued.revision,
        "status": issued.status,
        "issued_at": f"{issued.time:%Y-%m-%dT%H:%M:%SZ}",
        "report_sha256": issued.report_sha256,
        "sentence": report["sentence"],
        "currency": report["currency"]["code"],
        "totals": report["totals"],
        "path": f"/v1/reports/{issued.subject}/{issued.period}.json?revision={issued.revision}",
    }
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()
