"""What a webhook's request bears so that its receiver can tell it is ours, fresh, and not had before.

Source: standardwebhooks.com, symmetric scheme v1.
"""

from __future__ import annotations

import base64
import hashlib
import hmac


def signed_headers(secret: bytes, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of one delivery. Shapes: the id is the same however often it is tried. Units: Unix seconds."""
    return {
        "content-type": "application/json",
        "user-agent": "halfpenny",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(secret, message_id, timestamp, body),
    }


def signature(secret: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """The webhook-signature header: HMAC-SHA-256 over id, timestamp and raw body. Units: Unix seconds."""
    digest = hmac.new(secret, b"%b.%d.%b" % (message_id.encode(), timestamp, body), hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"
