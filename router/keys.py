"""Who is asking: a bearer key to an identity.

Keys are random and only their keyed hash is kept, so the lookup goes by the hash and tells nothing about near misses:
a missing, unknown, malformed or revoked key takes the same way to the same answer. A key that was good is recognised by
a shorter hash under a secret of the process, since the long one took a sixth of what is done before a call is sent; whether
it is still good is looked up each time. Ticket ids of private
clients are hashed with a key of the client's own before they are written anywhere.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from hashlib import blake2b, sha256
from typing import NamedTuple

from ledger.home import key_hash
from ledger.projections import Key
from router.errors import BadKey

BEARER = "bearer "
KEY_CHARACTERS = 256  # a longer header is no key of ours and is not worth hashing
ADMIN_KEY_ID = "admin.token"
RECOGNISED_AT_MOST = 1024  # headers, 200 bytes each
MARK_BYTES = 16


class Identity(NamedTuple):
    """Whom a key belongs to; `client_id` is absent for an admin."""

    key_id: str
    client_id: str | None
    role: str


class KeyRing:
    """Reads Authorization headers. `keys` is the ledger's live mapping by hash, so a revocation counts at once."""

    def __init__(self, pepper: bytes, admin_token: str, keys: Mapping[str, Key]) -> None:
        self._pepper, self._keys = pepper, keys
        self._admin_hash = key_hash(pepper, admin_token)
        self._secret = secrets.token_bytes(32)
        self._recognised: dict[bytes, str] = {}  # the hash of a good key, by its header's mark

    def identify(self, authorization: str | None) -> Identity:
        """The identity behind a header. Errors: BadKey."""
        header = authorization or ""
        if header[: len(BEARER)].lower() != BEARER or len(header) > KEY_CHARACTERS:
            raise BadKey
        mark = blake2b(header.encode(errors="surrogatepass"), digest_size=MARK_BYTES, key=self._secret).digest()
        key = self._keys.get(self._recognised.get(mark, ""))
        if key is not None and not key.revoked:
            return Identity(key.key_id, key.client_id, key.role)
        try:
            digest = key_hash(self._pepper, header[len(BEARER) :].strip())
        except UnicodeEncodeError:  # a lone surrogate, from bytes that are not UTF-8
            raise BadKey from None
        if hmac.compare_digest(digest, self._admin_hash):
            return Identity(ADMIN_KEY_ID, None, "admin")
        key = self._keys.get(digest)
        if key is None or key.revoked:
            raise BadKey
        if len(self._recognised) >= RECOGNISED_AT_MOST:
            self._recognised.clear()
        self._recognised[mark] = digest
        return Identity(key.key_id, key.client_id, key.role)


def private_ticket_id(pepper: bytes, client_id: str, ticket_id: str) -> str:
    """What is written instead of a private client's ticket id: the same for the same ticket, and not to be turned back."""
    client_key = hmac.digest(pepper, f"ticket ids of {client_id}".encode(), sha256)
    return "t_" + hmac.digest(client_key, ticket_id.encode(), sha256).hex()[:32]
