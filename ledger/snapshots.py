"""The folded state on disk, with the position it stands for: start-up reads it and folds the tail.

Derived and disposable: a snapshot that is missing, damaged or of another version is made anew from the
log, and the same events give the same bytes.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict, deque

import msgspec

from ledger import events as e
from ledger.alarms import Warned
from ledger.closings import Closings, delivery_of
from ledger.corrections import Corrections
from ledger.history import Bills
from ledger.prices import Price, PriceBook
from ledger.projections import CallKey, Cap, Draft, Key, State
from ledger.reuse import Claim, Claims
from ledger.spending import Running, Spend, SpendKey
from ledger.windows import WINDOW, EditWindow, LatencyWindow

VERSION = 2


class Edits(msgspec.Struct, frozen=True, array_like=True):
    """An EditWindow as a row."""

    drafts: int
    accepted: int
    touched: int
    measured: int
    ratio_sum: int
    timed: int
    seconds_sum: int
    recent_ratios: list[int]


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A State as rows: JSON has no dictionary with keys of several parts. Order is that of the state."""

    version: int
    position: int
    clients: list[e.ClientAdded]
    keys: list[tuple[str, Key]]
    key_hashes: dict[str, str]
    prices: list[Price]
    baseline: e.BaselineSet | None
    fx: list[e.FxRecorded]
    caps: list[tuple[tuple[str, str], list[Cap]]]
    running: list[tuple[tuple[str, str, str], Running]]
    holds: list[e.CallReserved]
    orphans: list[e.CallOrphaned]
    drafts: list[tuple[tuple[str, str], Draft]]
    spend: list[tuple[SpendKey, Spend]]
    refused: list[tuple[tuple[str, str, str], int]]
    quality: list[tuple[tuple[str, str, str], Edits]]
    latency: list[tuple[tuple[str, str], list[int]]]
    closed: list[e.MonthClosed]
    issued: list[e.ReportIssued]
    restated: list[e.MonthRestated]
    invoices: list[e.InvoiceRecorded]
    delivered: list[e.ReportDelivered]
    claims: list[Claim] = []
    warned: list[Warned] = []
    bills: list[e.BillImported] = []
    correction: e.PriceCorrected | None = None
    correction_missing: int = 0
    heads: list[e.HeadSigned] = []


_decoder = msgspec.json.Decoder(Snapshot)


def dump(state: State) -> bytes:
    """The state as bytes: a digest line, then JSON. The same state gives the same bytes."""
    body = msgspec.json.encode(
        Snapshot(
            version=VERSION,
            position=state.position,
            clients=list(state.clients.values()),
            keys=list(state.keys.items()),
            key_hashes=state.key_hashes,
            prices=[price for prices in state.prices.by_model.values() for price in prices],
            baseline=state.baseline,
            fx=[rate for rates in state.fx.values() for rate in rates],
            caps=list(state.caps.items()),
            running=list(state.running.items()),
            holds=list(state.holds.values()),
            orphans=list(state.orphans.values()),
            drafts=list(state.drafts.items()),
            spend=list(state.spend.items()),
            refused=list(state.refused.items()),
            quality=[(key, _edits(window)) for key, window in state.quality.items()],
            latency=[(key, list(window.recent)) for key, window in state.latency.items()],
            closed=list(state.closed.values()),
            issued=list(state.issued.values()),
            restated=list(state.closings.restated.values()),
            invoices=list(state.closings.invoices.values()),
            delivered=list(state.closings.delivered.values()),
            claims=list(state.claims.by_key.values()),
            warned=sorted(state.warned),
            bills=list(state.bills.lines()),
            correction=state.corrections.head,
            correction_missing=state.corrections.missing,
            heads=list(state.heads.values()),
        )
    )
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def _edits(window: EditWindow) -> Edits:
    return Edits(
        window.drafts,
        window.accepted,
        window.touched,
        window.measured,
        window.ratio_sum,
        window.timed,
        window.seconds_sum,
        list(window.recent_ratios),
    )


def load(data: bytes) -> State | None:
    """The state a snapshot holds, or None when it is damaged or of another version."""
    digest, _, body = data.partition(b"\n")
    if digest != hashlib.sha256(body).hexdigest().encode():
        return None
    try:
        found = _decoder.decode(body)
    except msgspec.DecodeError:
        return None
    return _state(found) if found.version == VERSION else None


def _state(found: Snapshot) -> State:
    prices = PriceBook()
    for price in found.prices:
        prices.add(price)
    claims = Claims()
    for claim in found.claims:
        claims.add(claim)
    fx: dict[str, list[e.FxRecorded]] = {}
    for rate in found.fx:
        fx.setdefault(rate.subject, []).append(rate)
    bills = Bills()
    for line in found.bills:
        bills.take(line)
    return State(
        position=found.position,
        clients={client.subject: client for client in found.clients},
        keys=dict(found.keys),
        key_hashes=found.key_hashes,
        prices=prices,
        baseline=found.baseline,
        fx=fx,
        caps=dict(found.caps),
        running=dict(found.running),
        holds={CallKey(hold.subject, hold.attempt): hold for hold in found.holds},
        orphans={CallKey(orphan.subject, orphan.attempt): orphan for orphan in found.orphans},
        drafts=OrderedDict(found.drafts),
        spend=dict(found.spend),
        refused=dict(found.refused),
        quality={
            key: EditWindow(
                drafts=row.drafts,
                accepted=row.accepted,
                touched=row.touched,
                measured=row.measured,
                ratio_sum=row.ratio_sum,
                timed=row.timed,
                seconds_sum=row.seconds_sum,
                recent_ratios=deque(row.recent_ratios, maxlen=WINDOW),
            )
            for key, row in found.quality
        },
        latency={key: LatencyWindow(deque(recent, maxlen=WINDOW)) for key, recent in found.latency},
        closed={(closed.subject, closed.period): closed for closed in found.closed},
        issued={(issued.subject, issued.period): issued for issued in found.issued},
        closings=Closings(
            restated={(month.subject, month.period): month for month in found.restated},
            invoices={(invoice.client_id or "", invoice.period): invoice for invoice in found.invoices},
            delivered={delivery_of(sent): sent for sent in found.delivered},
        ),
        claims=claims,
        warned=set(found.warned),
        bills=bills,
        corrections=Corrections(found.correction, found.correction_missing),
        heads={head.subject: head for head in found.heads},
    )
