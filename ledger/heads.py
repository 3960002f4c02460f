"""Signed heads: once a month is over, the log up to its end is signed, so that a past rewritten later shows.

A chain proves that nothing was changed in between; whoever rewrites all of it can make a chain that holds. They cannot sign it:
a head is an Ed25519 signature over source, month, sequence, hash and sum. It lies in the log (`head.signed`) and as a
file in HOME/heads, made to be carried elsewhere; `verify` holds the log against every head it is given.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from ledger import manifest as manifests
from ledger.disk import REAL, publish
from ledger.errors import Damage, InvalidInput, NotFound
from ledger.events import Event, HeadSigned
from ledger.home import Home
from ledger.money import ZERO

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from ledger.admin import Stamp
    from ledger.projections import State
    from ledger.verify import Finding

KEY_NAME = "head.ed25519"
VERSION = 1


class Head(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The log of a source up to a month's end, UTC, signed. Shapes: hash, key and signature in hex; `cost_sum` exact USD as text."""

    source: str
    month: str
    sequence: int
    hash: str
    cost_sum: str
    public_key: str
    signature: str
    v: int = VERSION

    def signed_bytes(self) -> bytes:
        """What the signature is over: one spelling, so that any program can make it again."""
        said = {"v": self.v, "source": self.source, "month": self.month, "sequence": self.sequence}
        said |= {"hash": self.hash, "cost_sum": self.cost_sum}
        return json.dumps(said, separators=(",", ":"), ensure_ascii=True).encode()


@dataclass(slots=True)
class Reached:
    """A point in the log: after this event, with the exact sum of cost_usd up to it. Units: USD."""

    sequence: int = 0
    hash: str = ""
    cost: Decimal = ZERO

    def take(self, event: Event) -> None:
        """Go on by one event."""
        cost: str | None = getattr(event, "cost_usd", None)
        self.sequence, self.hash = event.sequence or 0, event.hash or ""
        self.cost += ZERO if cost is None else Decimal(cost)

    @property
    def cost_sum(self) -> str:
        """The sum as text, however large."""
        return sum_text(self.cost)


def sum_text(cost: Decimal) -> str:
    """A sum as text, however large: one spelling an amount."""
    plain = f"{cost:f}"
    return (plain.rstrip("0").rstrip(".") if "." in plain else plain) or "0"


def _dropped(home: Home) -> Reached:
    """Where the log can be read from: its beginning, or where the last drop ended."""
    dropped = manifests.load(home, REAL).dropped
    return Reached() if dropped is None else Reached(dropped.sequence, dropped.hash, Decimal(dropped.cost_sum))


def due(home: Home, state: State, now: datetime) -> Iterator[tuple[str, Reached]]:
    """Every month that is over, has events and no head yet, with where the log stood at its end. Errors: Damage.

    Shapes: in order; from the last head on, so that a month costs one reading of that month's events.
    """
    last = max(state.heads.values(), key=lambda head: head.head_sequence, default=None)
    at = Reached() if last is None else Reached(last.head_sequence, last.head_hash, Decimal(last.head_cost_sum))
    at = max(at, _dropped(home), key=lambda one: one.sequence)
    from ledger.segments import read_all  # noqa: PLC0415 - reading Parquet, which a service's own process never does

    month: str | None = None
    for event in takewhile(lambda one: _recorded(one) < _begin(now), read_all(home, after=at.sequence)):
        recorded = f"{_recorded(event):%Y-%m}"
        if month is not None and recorded > month:  # a clock that was set back stays in the month that was reached
            if month not in state.heads:
                yield month, Reached(at.sequence, at.hash, at.cost)
            month = recorded
        month = month or recorded
        at.take(event)
    if month is not None and month not in state.heads:
        yield month, at


def _recorded(event: Event) -> datetime:
    return (event.recorded_at or event.time).astimezone(UTC)


def _begin(now: datetime) -> datetime:
    return now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def is_due(state: State, now: datetime) -> bool:
    """Whether the month before this one may want a head; cheap, without looking into the log."""
    before = _begin(now)
    known = (client.recorded_at for client in state.clients.values())
    month = f"{before.year - (before.month == 1):04d}-{(before.month - 2) % 12 + 1:02d}"
    return month not in state.heads and any(moment is not None and moment < before for moment in known)


def signed(home: Home, stamp: Stamp, month: str, at: Reached) -> HeadSigned:
    """The event of a month's head, signed with the home's key, which is made when there is none."""
    key = _private_key(home)
    public = _public_hex(key)
    source = manifests.load(home, REAL).source
    bare = Head(
        source=source,
        month=month,
        sequence=at.sequence,
        hash=at.hash,
        cost_sum=at.cost_sum,
        public_key=public,
        signature="",
    )
    return HeadSigned(
        id=stamp.event_id,
        subject=month,
        time=stamp.now,
        head_sequence=at.sequence,
        head_hash=at.hash,
        head_cost_sum=at.cost_sum,
        public_key=public,
        signature=key.sign(bare.signed_bytes()).hex(),
    )


def head_of(event: HeadSigned, source: str) -> Head:
    """The head an event carries."""
    return Head(
        source=source,
        month=event.subject,
        sequence=event.head_sequence,
        hash=event.head_hash,
        cost_sum=event.head_cost_sum,
        public_key=event.public_key,
        signature=event.signature,
    )


def keep(home: Home, event: HeadSigned) -> Path:
    """Put a head into HOME/heads, to be carried elsewhere; the file."""
    REAL.make_dir(home.heads)
    path = home.heads / f"{event.subject}.json"
    publish(REAL, path, msgspec.json.encode(head_of(event, manifests.load(home, REAL).source)) + b"\n")
    return path


def read(path: Path) -> tuple[Head, ...]:
    """The heads of a file, or of every .json file of a directory. Errors: NotFound, Damage."""
    if path.is_dir():
        return tuple(head for one in sorted(path.glob("*.json")) for head in read(one))
    try:
        return (msgspec.json.decode(path.read_bytes(), type=Head),)
    except FileNotFoundError:
        raise NotFound("file of a signed head", str(path), "Name one that was kept elsewhere, or HOME/heads.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as refused:
        raise Damage(path, f"it is not a signed head ({refused})") from None


def public_key(home: Home) -> str:
    """The home's public key in hex; it is made when there is none. Errors: Damage."""
    return _public_hex(_private_key(home))


def check(home: Home, given: Iterable[Head] = (), trusted: str | None = None) -> tuple[list[Finding], int]:
    """Hold the log against every signed head: those in it, those in HOME/heads and those given; and how many there were.

    Shapes: a head must bear the `trusted` key, else that of the home, else the one all share. Errors: Damage, InvalidInput.
    """
    # Imported here because it takes what reads Parquet, which a service's own process never does.
    from ledger.segments import read_all  # noqa: PLC0415
    from ledger.verify import Finding  # noqa: PLC0415

    found: list[Finding] = []
    kept = _all(home, given, found)
    if not kept:
        return found, 0
    trusted = trusted.lower() if trusted is not None else _own_key(home) or kept[0][1].public_key
    wanted = {head.sequence for _, head in kept}
    at = _dropped(home)
    # Of what was dropped only the signatures can be checked; where it ended the sum and the hash can.
    reached = {head.sequence: (head.hash, head.cost_sum) for _, head in kept if head.sequence < at.sequence}
    reached |= {at.sequence: (at.hash, at.cost_sum)} if at.sequence in wanted else {}
    for event in takewhile(lambda one: (one.sequence or 0) <= max(wanted), read_all(home, after=at.sequence)):
        at.take(event)
        if at.sequence in wanted:
            reached[at.sequence] = (at.hash, at.cost_sum)
    source = manifests.load(home, REAL).source
    for name, head in kept:
        why = _unlike(head, trusted, source, reached.get(head.sequence))
        if why is not None:
            found.append(Finding(path=name, why=f"the head of {head.month} {why}", sequence=head.sequence))
    return found, len(kept)


def _all(home: Home, given: Iterable[Head], found: list[Finding]) -> list[tuple[str, Head]]:
    from ledger.store import read_state  # noqa: PLC0415
    from ledger.verify import Finding  # noqa: PLC0415

    state, source = read_state(home), manifests.load(home, REAL).source
    kept = [("head.signed", head_of(event, source)) for event in state.heads.values()]
    for path in sorted(home.heads.glob("*.json")) if home.heads.is_dir() else ():
        try:
            kept += [(f"{home.heads.name}/{path.name}", head) for head in read(path)]
        except Damage as refused:
            found.append(Finding(path=f"{home.heads.name}/{path.name}", why=str(refused)))
    return kept + [("the head that was given", head) for head in given]


def _unlike(head: Head, trusted: str, source: str, reached: tuple[str, str] | None) -> str | None:
    if head.public_key != trusted:
        return f"is signed with the key {head.public_key}, not with {trusted}"
    if not is_signature(head.public_key, head.signature, head.signed_bytes()):
        return "bears no valid signature: it was changed, or signed by someone else"
    if head.source != source:
        return f"is of {head.source}, and this log is of {source}"
    if reached is None:
        return f"was signed at event {head.sequence}, and the log has no such event: events were removed"
    if reached != (head.hash, head.cost_sum):
        return (
            f"was signed over hash {head.hash} and {head.cost_sum} USD at event {head.sequence}, and the log has {reached[0]} "
            f"and {reached[1]} USD there: the past was rewritten"
        )
    return None


def is_signature(public_key: str, signature: str, signed: bytes) -> bool:
    """Whether this key, in hex, signed these bytes so."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)).verify(bytes.fromhex(signature), signed)
    except (InvalidSignature, ValueError):
        return False
    return True


def sign(home: Home, said: bytes) -> str:
    """The home's signature over these bytes, in hex; its key is made when there is none. Errors: Damage."""
    return _private_key(home).sign(said).hex()


def _private_key(home: Home) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    path = home.keys / KEY_NAME
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    else:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        REAL.sync_dir(home.keys)
    try:
        return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(path.read_text(encoding="ascii").strip()))
    except ValueError:
        raise Damage(path, "it is not a key of 32 bytes in hex") from None


def _own_key(home: Home) -> str | None:
    return _public_hex(_private_key(home)) if (home.keys / KEY_NAME).exists() else None


def _public_hex(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes_raw().hex()


def trusted_key(said: str) -> str:
    """A public key as typed. Errors: InvalidInput."""
    found = said.strip().lower()
    if len(found) != 64 or set(found) - set("0123456789abcdef"):
        raise InvalidInput(f"{said!r} is not a public key. Write the 64 hex digits that halfpenny head key prints.")
    return found
