"""What a report cannot be made of, and the sentence it says.

LedgerError
└── ReportError         a report cannot be built (exit 1)
    ├── NotReadable     the catalog names files that are not there (exit 1)
    ├── NoRate          the client's currency has no rate yet (exit 2)
    ├── QueryFailed     a question in SQL met a ledger that is not whole (exit as there)
    ├── DoesNotRender   the page could not be set (exit 1)
    └── Altered         a built report is not what was built (exit 4)
"""

from __future__ import annotations

from ledger.errors import LedgerError


class ReportError(LedgerError):
    """A report that cannot be built; nothing was written."""


class NotReadable(ReportError):
    """A catalog over files that cannot be opened, as in a home that was moved."""

    def __init__(self, home: object, why: str) -> None:
        super().__init__(
            f"The events of {home} cannot be read: {why}. If it was moved, publish its views again: halfpenny rebuild --home {home}."
        )


class QueryFailed(ReportError):
    """A question that was asked rightly and has no answer: what the process that asked said, and its exit code."""

    def __init__(self, said: str, exit_code: int) -> None:
        super().__init__(said)
        self.exit_code = exit_code


class NoRate(ReportError):
    """A currency without a recorded rate at or before the period's end."""

    exit_code = 2

    def __init__(self, currency: str, client: str, last_day: str) -> None:
        super().__init__(
            f"Client {client!r} is billed in {currency}, and no rate between USD and {currency} is recorded that was valid by "
            f"{last_day}. Record one: halfpenny fx add {currency} USD RATE --on {last_day} --source WHERE."
        )


class DoesNotRender(ReportError):
    """A page the typesetter refused or warned about."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(
            f"The {what} could not be set: {why}. This is a fault of the program; please report it with the report.json."
        )


class Altered(ReportError):
    """A built revision whose files differ from its own manifest."""

    exit_code = 4

    def __init__(self, path: object) -> None:
        super().__init__(
            f"{path} is not what was built: its SHA-256 differs from manifest.json beside it. Restore it from a backup, "
            "or move that revision's directory away and build again."
        )
