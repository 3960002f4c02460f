"""How a command reaches the service that holds the home's lock: its address is in LOCK, its token in keys/.

Standard library only, so that a command that adds a client does not load a web framework.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Sequence

from ledger.codec import encode
from ledger.errors import HomeError, HomeInUse, InvalidInput
from ledger.events import Event
from ledger.home import Home

_TIMEOUT_S = 30.0
_TRIES = 2  # what was taken and not answered is known by its ids and taken once


class ServiceUnreachable(HomeError):
    """A process holds the home but does not answer at the address it left."""

    def __init__(self, home: Home, url: str, why: str) -> None:
        super().__init__(
            f"The service of {home.path} at {url} does not answer: {why}. Wait for its start, or stop it and try again."
        )


def service_url(home: Home) -> str | None:
    """The address of the service running on this home, or None when LOCK names none."""
    try:
        found = json.loads(home.lock.read_text(encoding="utf-8") or "{}")
    except (FileNotFoundError, ValueError):
        return None
    url = found.get("url")
    return url if isinstance(url, str) else None


def post_events(home: Home, events: Sequence[Event]) -> None:
    """Append events through the running service; when this returns they are durable.

    Errors: HomeInUse when the lock's holder serves no HTTP; ServiceUnreachable; InvalidInput with the service's own words.
    """
    _post(home, "/v1/admin/events", b"[" + b",".join(encode(event) for event in events) + b"]")


def post_seal(home: Home) -> None:
    """Have the running service seal what its journal holds. Errors: as post_events."""
    _post(home, "/v1/admin/seal", b"{}")


def _post(home: Home, path: str, body: bytes) -> None:
    if (url := service_url(home)) is None:
        raise HomeInUse(home.path, "a process that serves no HTTP")
    request = urllib.request.Request(  # noqa: S310 - the address is our own service's
        url + path,
        data=body,
        headers={"authorization": f"Bearer {home.admin_token()}", "content-type": "application/json"},
    )
    for left in reversed(range(_TRIES)):
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as reply:  # noqa: S310
                reply.read()
            return
        except urllib.error.HTTPError as refused:
            raise InvalidInput(_message(refused.read())) from None
        except (urllib.error.URLError, TimeoutError, ConnectionError) as unreachable:
            if not left:
                raise ServiceUnreachable(home, url, str(unreachable)) from None


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"the service refused: {body[:200]!r}"
