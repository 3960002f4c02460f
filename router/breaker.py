"""A breaker for each client's way to the provider: after failures in a row it is open for a while, then lets one call try.

It keeps a client whose requests break the provider, or who meets a broken one, from filling the gateway with calls that
wait for their deadline. It is the client's own, so that one client's poisoned request shuts nobody else out.
"""

from __future__ import annotations

from msgspec import Struct


class _Failing(Struct):
    """A client whose last attempt failed. Units: seconds of the monotonic clock; `open_until` 0 while it is not shut out."""

    failures: int = 0
    open_until: float = 0.0


class Breakers:
    """Who is shut out, and until when. Only clients that failed last are kept, so that a healthy call costs one look.

    Units: `failures` in a row that open it, 0 for never; `open_s` seconds it stays open, and that a try has before the next one.
    """

    def __init__(self, *, failures: int, open_s: float) -> None:
        self._at, self._open_s = failures, open_s
        self._failing: dict[str, _Failing] = {}

    def wait_s(self, client_id: str, now: float) -> float | None:
        """Seconds until a call of this client may try; None lets it go, and of an open breaker only the one that tries."""
        found = self._failing.get(client_id)
        if found is None or not found.open_until:
            return None
        if now < found.open_until:
            return found.open_until - now
        found.open_until = now + self._open_s  # a try that is refused before it is sent never reports its end
        return None

    def is_shut(self, client_id: str, now: float) -> bool:
        """Whether a call of this client would be refused; to look takes nobody's try."""
        found = self._failing.get(client_id)
        return found is not None and now < found.open_until

    def ended(self, client_id: str, *, is_failure: bool, now: float) -> None:
        """Count an attempt's end in."""
        if not is_failure:
            self._failing.pop(client_id, None)
        elif self._at:
            found = self._failing.setdefault(client_id, _Failing())
            found.failures += 1
            if found.failures >= self._at:
                found.open_until = now + self._open_s

    @property
    def open(self) -> tuple[str, ...]:
        """Clients that are shut out, or whose next call is a try."""
        return tuple(sorted(client_id for client_id, found in self._failing.items() if found.open_until))
