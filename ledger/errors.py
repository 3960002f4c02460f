"""What the ledger refuses, and the sentence it says.

LedgerError
├── InvalidInput        asked wrongly: a value, a name, a moment (command line: exit 2)
│   ├── BadMoney        not an exact amount
│   ├── BadMoment       not a moment with a zone
│   ├── BadPeriod       not a month written YYYY-MM
│   └── Conflict        against what the ledger already holds
├── NotFound            a client, key, ticket or call the ledger does not know
├── NoLongerHere        what was asked needs events that were exported and dropped (exit 2)
├── Refusal             a call that must not be made (HTTP 402, 404)
│   ├── UnpricedModel
│   └── BudgetSpent
├── HomeError           the home directory cannot be used (exit 5)
│   ├── NotAHome
│   ├── HomeNotWritable
│   ├── HomeNotPrivate
│   └── HomeInUse
├── WriteFailed         the disk did not take an event; the process stops
└── Damage              a file is not what the ledger wrote (exit 4)

Each constructor takes data and writes the sentence: what was found, what was
expected, what to do next.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal


def _plain(amount: Decimal) -> str:
    return f"{amount.normalize():f}"  # 0.0000 and 3E+2 are no sight for people; money.text cannot be imported here


class LedgerError(Exception):
    """Anything the ledger says no to; `str()` is a sentence for people."""


class InvalidInput(LedgerError):
    """A value that cannot be taken; nothing was written."""


class BadMoney(InvalidInput):
    """An amount that is not exact money."""

    def __init__(self, found: object, why: str) -> None:
        super().__init__(f"{found!r} is not an amount of money: {why}. Write it as text, like 12.50.")


class BadMoment(InvalidInput):
    """A moment without a zone, or none at all."""

    def __init__(self, found: object, what: str = "moment") -> None:
        super().__init__(
            f"{found!r} is not a {what}. Write a date or RFC 3339 time with a zone, like 2026-10-01 or 2026-10-01T00:00:00Z."
        )


class BadPeriod(InvalidInput):
    """A month that is not written YYYY-MM."""

    def __init__(self, found: object) -> None:
        super().__init__(f"{found!r} is not a month. Write it as YYYY-MM, like 2026-10.")


class Conflict(InvalidInput):
    """A fact that contradicts what the ledger already holds."""


class NotFound(LedgerError):
    """A client, key, ticket or call the ledger does not know."""

    def __init__(self, what: str, name: str, hint: str) -> None:
        self.what, self.name = what, name
        super().__init__(f"There is no {what} {name!r}. {hint}")


class NoLongerHere(LedgerError):
    """A question that only dropped events could answer; it is not answered by less."""

    exit_code = 2

    def __init__(self, what: str, period: str) -> None:
        self.period = period
        super().__init__(
            f"{what} cannot be told from this ledger: the events of {period} and before were exported and dropped. What they came to "
            "is in the closings and issued reports (halfpenny report list); the events themselves are in the export."
        )


class Refusal(LedgerError):
    """A call that must not be made; nothing goes upstream."""


class UnpricedModel(Refusal):
    """A model without a price at the moment of the call."""

    def __init__(self, model: str, moment: datetime, *, is_known: bool) -> None:
        self.model, self.is_known = model, is_known
        found = "has no price valid at" if is_known else "is not in the price book at"
        super().__init__(
            f"Model {model!r} {found} {moment:%Y-%m-%dT%H:%M:%SZ}, so no call can be charged. "
            f"List one: halfpenny price add {model} --input USD_PER_MTOK --output USD_PER_MTOK "
            f"--valid-from {moment:%Y-%m-%d} --source WHERE."
        )


class BudgetSpent(Refusal):
    """A hold that does not fit under a cap."""

    def __init__(
        self,
        *,
        scope: str,
        period: str,
        cap: Decimal,
        settled: Decimal,
        held: Decimal,
        orphaned: Decimal,
        wanted: Decimal,
    ) -> None:
        self.scope, self.period, self.cap, self.wanted = scope, period, cap, wanted
        self.settled, self.held, self.orphaned = settled, held, orphaned
        super().__init__(
            f"The budget of {scope} for {period} is {_plain(cap)} USD: {_plain(settled)} settled, {_plain(held)} held by calls in flight, "
            f"{_plain(orphaned)} held by calls whose end is unknown. This call may cost up to {_plain(wanted)} USD, which does not fit. "
            f"Raise it with: halfpenny budget set {scope} AMOUNT --hard."
        )


class HomeError(LedgerError):
    """A home directory that cannot be used."""


class NotAHome(HomeError):
    """A directory `halfpenny init` did not make, or one that lost a part."""

    def __init__(self, home: object, missing: str = "halfpenny.toml") -> None:
        todo = (
            f"Make one with: halfpenny init --home {home}"
            if missing == "halfpenny.toml"
            else "It is not made anew, since what it opens would be lost; restore it from a backup"
        )
        super().__init__(f"{home} is not a Halfpenny home: {missing} is missing. {todo}.")


class HomeNotWritable(HomeError):
    """A home this process may not write into."""

    def __init__(self, home: object, why: str) -> None:
        super().__init__(f"{home} cannot be written: {why}. Give the directory to this user or choose another --home.")


class HomeNotPrivate(HomeError):
    """A home, or a secret in it, that other users may read or write."""

    def __init__(self, home: object, path: object, mode: int) -> None:
        super().__init__(
            f"Others may read or write {path}: its mode is {mode:04o}, where a home has 0700 and a secret 0600. "
            f"Close it with: chmod -R go= {home}."
        )


class HomeInUse(HomeError):
    """A home another process is writing."""

    def __init__(self, home: object, owner: str) -> None:
        super().__init__(
            f"{home} is in use by {owner}. One process writes a home; stop that one or choose another --home."
        )


class WriteFailed(LedgerError):
    """The disk refused a write or a sync; what was waiting is not acknowledged."""

    def __init__(self, path: object, why: str) -> None:
        super().__init__(
            f"{path} could not be written durably: {why}. Nothing waiting was acknowledged; free or repair the disk and start again."
        )


class Damage(LedgerError):
    """A file that is not what the ledger wrote."""

    def __init__(self, path: object, why: str, *, offset: int | None = None) -> None:
        self.path, self.offset = str(path), offset
        at = "" if offset is None else f" at byte {offset}"
        super().__init__(f"{path} is damaged{at}: {why}. Nothing was changed; restore the file from a backup.")
