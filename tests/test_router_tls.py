"""The provider over TLS: a certificate nobody vouches for gets nothing, one that is vouched for gets the call."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp.connector
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from served_home import completion, http, served

from ledger.events import CallSettled, CallVoided


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def _certificate(directory: Path) -> Path:
    """A certificate for localhost that vouches for itself, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]), datetime.now(UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = directory / "provider.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + made.public_bytes(Encoding.PEM))
    return path


@asynccontextmanager
async def _provider(certificate: Path, heard: list[bytes]) -> AsyncIterator[str]:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(b"a connection")
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
                heard.append(head + await reader.readexactly(int(length.split(b":")[1])))
                writer.write(http(completion()).replace(b"Connection: close\r\n", b""))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@pytest.mark.anyio
async def test_a_certificate_nobody_vouches_for_gets_no_request_and_no_key(tmp_path: Path) -> None:
    heard: list[bytes] = []
    async with _provider(_certificate(tmp_path), heard) as url, served(tmp_path / "home", url) as running:
        status, _, answer = await running.chat()
        ends = running.events(CallVoided, CallSettled)

    assert (status, answer["error"]["code"]) == (502, "upstream_unreachable")
    assert {(type(end), end.error_type) for end in ends} == {(CallVoided, "tls_failed")}
    assert heard == []


@pytest.mark.anyio
async def test_a_certificate_that_is_vouched_for_gets_one_call_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, heard = _certificate(tmp_path), list[bytes]()
    trusting = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", trusting)
    async with _provider(certificate, heard) as url, served(tmp_path / "home", url) as running:
        answers = [await running.chat() for _ in range(3)]
        ends = running.events(CallVoided, CallSettled)

    assert [status for status, _, _ in answers] == [200, 200, 200]
    assert [type(end) for end in ends] == [CallSettled] * 3
    assert heard[0] == b"a connection"
    assert [b"Host: localhost:" in request for request in heard[1:]] == [True] * 3  # all of them on it
