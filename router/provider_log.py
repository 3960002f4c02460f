"""The simulated provider's own books: what it would put on the invoice.

They know nothing of the ledger, which is why the ledger can be held against them.
"""

import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec


class ProviderLog:
    """One JSON line a billed request, in the file before the reply ends.

    Shapes: request_id, time, model, prompt_tokens, cached_tokens, completion_tokens, status, complete.
    Source: DESIGN section 12.
    """

    def __init__(self, path: Path | None) -> None:
        self._file = (
            None if path is None else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        )

    def bill(self, entry: dict[str, object], *, at: datetime | None) -> None:
        """Append one line, timed now unless the moment is given (an aware one).

        Errors: OSError, also for a line that was written in part (a full disk).
        """
        if self._file is None:
            return
        moment = (at or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        line = msgspec.json.encode({"request_id": entry["request_id"], "time": moment} | entry) + b"\n"
        if os.write(self._file, line) != len(line):
            raise OSError("The provider log took only part of a line; is the disk full?")

    def close(self) -> None:
        """Close the file; billing afterwards is an error."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
