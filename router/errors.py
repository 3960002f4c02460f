"""What the gateway refuses, as HTTP: a status and OpenAI's error object, all four keys.

HttpError
├── BadRequest          400  a body, field or header that cannot be taken
├── BadKey              401  no key, an unknown one, a revoked one: one answer for all
├── UnpricedCall        402  a known model without a price now, or a worst case no budget can hold
├── WrongRole           403  a key that opens other doors
├── NotYours            404  does not exist, or is somebody else's: one answer for both
├── UnknownModel        404
├── WrongMethod         405
├── Clash               409  against what the ledger already holds
├── KeyReused           409  an Idempotency-Key that came with another request
├── KeyUnfinished       409  one whose call may have been billed, and whose answer is lost
├── SlowBody            408  a body that does not come
├── TooLarge            413
├── Misdirected         421  a host that is none of server.hosts
├── QuotaSpent          429  the budget; a client must not try again
├── ClientLeft          499  the client, before anything was sent upstream; it reads no answer
├── Overloaded          503  too many calls at once, or a drain
└── UpstreamError
    ├── UpstreamRefused     the provider's own refusal, passed through
    ├── UpstreamBroken  502  an answer that cannot be read or trusted
    ├── Unreachable     502  no connection, or one that broke
    ├── ShutOut         503  not asked: this client's last calls all failed there
    └── UpstreamTimeout 504

Constructors take data and write the sentence. No text of a client or a provider's key ever stands in one.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ledger.errors import BudgetSpent, UnpricedModel
from ledger.money import text

INVALID, SERVER = "invalid_request_error", "api_error"
_NO_HEADERS: Mapping[str, str] = {}


class HttpError(Exception):
    """A refusal with its status, OpenAI type, param and code, and headers that go with it."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = INVALID,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.param, self.code, self.headers = status, kind, param, code, headers

    @property
    def body(self) -> bytes:
        """OpenAI's error object as JSON."""
        return error_body(str(self), kind=self.kind, param=self.param, code=self.code)


def error_body(message: str, *, kind: str, param: str | None = None, code: str | None = None) -> bytes:
    """`{"error": {message, type, param, code}}`, all four keys always there."""
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": param, "code": code}})


class BadRequest(HttpError):
    """A body, field or header that cannot be taken."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(400, message, param=param, code=code)


class BadKey(HttpError):
    """No key that opens anything."""

    def __init__(self) -> None:
        super().__init__(
            401,
            "No valid API key. Send Authorization: Bearer hp_…; issue one with: halfpenny key issue CLIENT --role app.",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )


class UnpricedCall(HttpError):
    """A call whose cost cannot be bounded, so it is not made."""

    def __init__(self, message: str, *, param: str = "model") -> None:
        super().__init__(402, message, param=param, code="model_not_priced")


class WrongRole(HttpError):
    """A valid key for other doors."""

    def __init__(self, role: str, wanted: tuple[str, ...]) -> None:
        super().__init__(
            403,
            f"A key of role {role!r} may not do this; it takes {' or '.join(wanted)}. "
            "Issue one with: halfpenny key issue CLIENT --role ROLE.",
            code="wrong_role",
        )


class NotYours(HttpError):
    """Nothing there for this key. Whether somebody else has it stays unsaid."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(404, f"There is no such {what}. {hint}", code="not_found")


class UnknownModel(HttpError):
    """A model the price book has never heard of."""

    def __init__(self, message: str) -> None:
        super().__init__(404, message, param="model", code="model_not_found")


class WrongMethod(HttpError):
    """A known path asked in another way."""

    def __init__(self, allowed: tuple[str, ...]) -> None:
        methods = ", ".join(allowed)
        super().__init__(405, f"This path takes {methods}.", code="method_not_allowed", headers={"Allow": methods})


class Clash(HttpError):
    """Against what the ledger already holds."""

    def __init__(self, message: str) -> None:
        super().__init__(409, message, code="conflict")


class KeyReused(HttpError):
    """One Idempotency-Key, two requests."""

    def __init__(self) -> None:
        super().__init__(
            409,
            "This Idempotency-Key came with another request before. Use a new key for each request.",
            param="Idempotency-Key",
            code="idempotency_key_reused",
            headers={"x-should-retry": "false"},
        )


class KeyUnfinished(HttpError):
    """The answer is lost, and asking again could be charged again."""

    def __init__(self, call_id: str) -> None:
        super().__init__(
            409,
            f"Call {call_id} had this Idempotency-Key; it may have been billed, and its answer is lost. Use a new key to ask again.",
            param="Idempotency-Key",
            code="idempotency_key_unfinished",
            headers={"x-should-retry": "false"},
        )


class SlowBody(HttpError):
    """A body that does not come. Units: seconds."""

    def __init__(self, limit_s: float) -> None:
        super().__init__(
            408,
            f"The body did not come within {limit_s:g} s. Send the request again, whole.",
            code="request_timeout",
            headers={"Connection": "close"},
        )


class TooLarge(HttpError):
    """More bytes than the gateway takes. Units: bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            413,
            f"The body is larger than {limit} bytes. Send less, or raise max_body_bytes in halfpenny.toml.",
            code="request_too_large",
        )


class Misdirected(HttpError):
    """Asked under a name it does not answer to."""

    def __init__(self) -> None:
        super().__init__(
            421,
            "This service does not answer to the Host of this request. Ask under one of its names, or add the name to "
            "server.hosts in halfpenny.toml.",
            param="Host",
            code="misdirected_request",
        )


class QuotaSpent(HttpError):
    """The budget; `x-should-retry: false`, since trying again soon would not help."""

    def __init__(self, spent: BudgetSpent, *, own_settled: str, own_held: str) -> None:
        if spent.scope == "whole":
            # Figures of the whole service would tell one client what the others spend.
            message = (
                f"The budget of the whole service for {spent.period} has no room for this call, which may cost up to "
                f"{text(spent.wanted)} USD. Of it this client has {own_settled} USD settled and {own_held} USD held by "
                "calls in flight. Raise it with: halfpenny budget set whole AMOUNT --hard."
            )
        else:
            message = str(spent)
        super().__init__(
            429,
            message,
            kind="insufficient_quota",
            code="insufficient_quota",
            headers={"x-should-retry": "false"},
        )


class Overloaded(HttpError):
    """Not now; soon again. Units: seconds."""

    def __init__(self, why: str, *, retry_after_s: int = 1) -> None:
        super().__init__(
            503,
            f"{why} Try again in {retry_after_s} s.",
            kind=SERVER,
            code="overloaded",
            headers={"Retry-After": str(retry_after_s)},
        )


class ClientLeft(HttpError):
    """The client hung up, so its call is not made; 499 is nginx's number for it. `when` is a clause of a sentence."""

    def __init__(self, when: str) -> None:
        super().__init__(499, f"The client left {when}; nothing was sent to the provider.", code="client_gone")


class UpstreamError(HttpError):
    """The provider did not answer as asked; what it may have billed is in the ledger."""


class UpstreamRefused(UpstreamError):
    """The provider's own refusal: its status, and its error object when it sent one.

    401 and 403 there are about our key, not the client's, so they become 502 here. `advice` is a sentence on what to do next.
    """

    def __init__(
        self, status: int, sent: bytes, headers: Mapping[str, str], provider: str, *, advice: str | None = None
    ) -> None:
        is_our_key = status in (401, 403)
        is_odd = not 400 <= status < 600
        message, kind, param, code = _provider_error(sent)
        if is_our_key:
            message = (
                f"{provider} refused the gateway's own key (status {status}). Set the provider's key and start again."
            )
            kind, param, code = SERVER, None, "provider_key_refused"
        message = message or f"{provider} answered with status {status}."
        super().__init__(
            502 if is_our_key or is_odd else status,
            f"{message} {advice}" if advice else message,
            kind=kind or (INVALID if status < 500 else SERVER),
            param=param,
            code=code or f"upstream_{status}",
            headers=headers,
        )


class UpstreamBroken(UpstreamError):
    """An answer that cannot be read."""

    def __init__(self, provider: str, why: str) -> None:
        super().__init__(
            502,
            f"{provider} sent an answer that cannot be used: {why}. It may have been billed and is recorded so.",
            kind=SERVER,
            code="upstream_broken",
        )


class Unreachable(UpstreamError):
    """No connection, or one that broke before the answer."""

    def __init__(self, provider: str, why: str) -> None:
        super().__init__(
            502,
            f"{provider} could not be reached: {why}. Look at base_url in halfpenny.toml and the network.",
            kind=SERVER,
            code="upstream_unreachable",
        )


class ShutOut(UpstreamError):
    """A call that was not sent, since the client's last ones all failed at the provider. Units: seconds."""

    def __init__(self, provider: str, wait_s: float) -> None:
        seconds = max(1, round(wait_s))
        super().__init__(
            503,
            f"This client's last calls to {provider} all failed, so it is not asked for a moment. Try again in {seconds} s.",
            kind=SERVER,
            code="upstream_shut_out",
            headers={"Retry-After": str(seconds)},
        )


class UpstreamTimeout(UpstreamError):
    """No answer within the deadline."""

    def __init__(self, provider: str) -> None:
        super().__init__(
            504,
            f"{provider} did not answer in time. It may have been billed and is recorded so.",
            kind=SERVER,
            code="upstream_timeout",
        )


def of_unpriced(refused: UnpricedModel) -> HttpError:
    """404 for a model nobody listed, 402 for one without a price now."""
    return UnpricedCall(str(refused)) if refused.is_known else UnknownModel(str(refused))


class _Detail(msgspec.Struct):
    message: str | None = None
    type: str | None = None
    param: str | None = None
    code: str | None = None


class _Wrapped(msgspec.Struct):
    error: _Detail


MESSAGE_AT_MOST = 1000  # characters of a provider's message that are passed on


def _provider_error(sent: bytes) -> tuple[str | None, str | None, str | None, str | None]:
    try:
        found = msgspec.json.decode(sent, type=_Wrapped).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, None, None, None
    message = found.message[:MESSAGE_AT_MOST] if found.message else None
    return message, found.type, found.param, found.code
