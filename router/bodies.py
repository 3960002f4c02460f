"""A request's body as handlers get it: plain, and of a make that decoding cannot blow up.

The server takes bytes as they come and undoes no encoding, so that a body nobody will read costs what its bytes cost.
What is to be read is undone here, up to the most bytes a body may have; and before it is decoded it is told how many
pieces of JSON it holds, since a value of two bytes can become an object of two hundred.
"""

from __future__ import annotations

import re
import zlib

from router.errors import BadRequest, TooLarge

PIECES_AT_MOST = 400_000  # some 40 MB once decoded; OpenAI takes 300,000 tokens for one request of embeddings
_GZIP_OR_ZLIB = 47  # zlib's word for: with whichever of the two heads it has
_MARKS = (b'"', b",", b":", b"[", b"{")
# A text, whole or not, or a mark outside of one. Nothing is tried twice, so it takes a time in proportion to the body.
_PIECE = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[,:\[{]', re.DOTALL)


def plain(body: bytes, encoding: str | None, at_most: int) -> bytes:
    """A body without its Content-Encoding, gzip or deflate. Errors: BadRequest, TooLarge."""
    if encoding is not None:
        body = _undone(body, encoding.strip().lower(), at_most)
    if len(body) > PIECES_AT_MOST:
        _check_pieces(body)
    return body


def _undone(body: bytes, encoding: str, at_most: int) -> bytes:
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise BadRequest(
            "The body's Content-Encoding is not taken. Send it plain, or as gzip or deflate.", param="Content-Encoding"
        )
    undoing = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        plain = undoing.decompress(body, at_most + 1)
    except zlib.error:
        plain = b""
    if len(plain) > at_most:
        raise TooLarge(at_most)
    if not undoing.eof or undoing.unused_data:
        raise BadRequest("The body is not encoded as its headers say.", param="Content-Encoding")
    return plain


def _check_pieces(body: bytes) -> None:
    """Refuse more texts and marks than PIECES_AT_MOST; looked at closely only where there can be so many. Errors: BadRequest."""
    if sum(map(body.count, _MARKS)) <= PIECES_AT_MOST:
        return
    for number, _ in enumerate(_PIECE.finditer(body)):
        if number == PIECES_AT_MOST:
            raise BadRequest(
                f"The body holds more than {PIECES_AT_MOST} texts and marks of JSON. Send it in several requests."
            )
