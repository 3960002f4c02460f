"""Warnings that nobody has taken yet, a file each in HOME/content/unsent, so that a restart goes on telling them.

A file is durable as its event is submitted, and goes once a receiver has answered. One whose event never became durable is
dropped at the next start: that warning is given anew, under an id of its own.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import structlog

from ledger.disk import RealDisk, publish
from ledger.events import BudgetWarned, DriftAlarmed

Notice = BudgetWarned | DriftAlarmed
_READ = msgspec.json.Decoder(Notice)
_log = structlog.stdlib.get_logger()


class Unsent:
    """The files of one home; without a folder nothing is kept. A disk that cannot keep one only costs the warning its restart."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def keep(self, event: Notice) -> None:
        """Keep it until it is dropped; rare, and a millisecond or two."""
        if self._folder is None:
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            publish(RealDisk(), self._folder / f"{event.id}.json", msgspec.json.encode(event))
        except OSError as broke:
            _log.error("warning_not_kept", event_id=event.id, why=type(broke).__name__)

    def drop(self, event_id: str) -> None:
        """It was taken, or is not to be told."""
        if self._folder is not None:
            (self._folder / f"{event_id}.json").unlink(missing_ok=True)

    def all(self) -> tuple[Notice, ...]:
        """What is still kept, the oldest first."""
        if self._folder is None or not self._folder.is_dir():
            return ()
        found = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                found.append(_READ.decode(path.read_bytes()))
            except (OSError, msgspec.DecodeError):
                os.unlink(path)  # not whole, so never promised
        return tuple(found)
