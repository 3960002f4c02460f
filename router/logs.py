"""The service's log: one JSON object a line on stderr, and no text of a request in it."""

from __future__ import annotations

import logging
import sys
import traceback

import structlog

from ledger.events import CallEvent, CallRefused, Event

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
TOLD = (
    *("client_id", "key_id", "ticket_id", "purpose", "request_model", "attempt", "outcome", "refusal"),
    *("error_type", "http_status", "duration_s", "hold_usd", "cost_usd"),
)
_log = structlog.stdlib.get_logger()


def tell(event: Event) -> None:
    """One line a call's event, at level debug: ids, sizes and ends, as the ledger has them; a line for every call would cost
    more than the call.
    """
    if isinstance(event, CallEvent | CallRefused):
        said = {name: getattr(event, name, None) for name in TOLD}
        kind = str(event.__struct_config__.tag).removeprefix("halfpenny.").rpartition(".")[0]
        _log.debug(kind, call_id=event.subject, **{name: value for name, value in said.items() if value is not None})


class _Unquoted(logging.Handler):
    """What libraries complain of, by its kind and place alone: their texts quote headers and bodies, so keys and prompts."""

    def emit(self, record: logging.LogRecord) -> None:
        kind, _, trace = record.exc_info or (None, None, None)
        where = [f"{frame.f_code.co_filename.rpartition('/')[2]}:{line}" for frame, line in traceback.walk_tb(trace)]
        _log.warning("complaint", of=record.name, error=None if kind is None else kind.__name__, where=where)


def log_as_json(level: str) -> None:
    """Set the process's logging up, once. Shapes: `level` one of LEVELS."""
    logging.getLogger().handlers = [_Unquoted(logging.WARNING)]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
