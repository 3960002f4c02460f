"""Every refusal in one shape: a status, OpenAI's error object with all four keys, a sentence that says what to do."""

from __future__ import annotations

import inspect
import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from ledger.errors import BudgetSpent, UnpricedModel
from router import errors
from router.errors import HttpError

SPENT = BudgetSpent(
    scope="acme",
    period="2025-10",
    cap=Decimal(300),
    settled=Decimal("299.5"),
    held=Decimal("0.25"),
    orphaned=Decimal(0),
    wanted=Decimal("0.5"),
)
AT = datetime(2025, 10, 1, tzinfo=UTC)
CASES: tuple[tuple[HttpError, int, str | None], ...] = (
    (errors.BadRequest("No.", param="messages"), 400, None),
    (errors.BadKey(), 401, "invalid_api_key"),
    (errors.UnpricedCall("No."), 402, "model_not_priced"),
    (errors.WrongRole("agent", ("app",)), 403, "wrong_role"),
    (errors.NotYours("ticket", "Look again."), 404, "not_found"),
    (errors.UnknownModel("No."), 404, "model_not_found"),
    (errors.WrongMethod(("POST",)), 405, "method_not_allowed"),
    (errors.Misdirected(), 421, "misdirected_request"),
    (errors.Clash("No."), 409, "conflict"),
    (errors.KeyReused(), 409, "idempotency_key_reused"),
    (errors.KeyUnfinished("c"), 409, "idempotency_key_unfinished"),
    (errors.SlowBody(30), 408, "request_timeout"),
    (errors.TooLarge(10), 413, "request_too_large"),
    (errors.QuotaSpent(SPENT, own_settled="1", own_held="2"), 429, "insufficient_quota"),
    (errors.ClientLeft("early"), 499, "client_gone"),
    (errors.Overloaded("Full."), 503, "overloaded"),
    (errors.UpstreamRefused(400, b"", {}, "p"), 400, "upstream_400"),
    (errors.UpstreamBroken("p", "it is odd"), 502, "upstream_broken"),
    (errors.Unreachable("p", "refused"), 502, "upstream_unreachable"),
    (errors.ShutOut("p", 0.2), 503, "upstream_shut_out"),
    (errors.UpstreamTimeout("p"), 504, "upstream_timeout"),
)


@pytest.mark.parametrize(("error", "status", "code"), CASES)
def test_every_refusal_has_its_status_and_all_four_keys(error: HttpError, status: int, code: str | None) -> None:
    said = json.loads(error.body)["error"]

    assert (error.status, said["code"]) == (status, code)
    assert set(said) == {"message", "type", "param", "code"}
    assert said["message"]
    assert said["type"]


def test_the_tree_at_the_top_names_every_class() -> None:
    named = [name for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, HttpError)]
    made = {type(error) for error, _, _ in CASES} | {errors.HttpError, errors.UpstreamError}

    assert all(name in (errors.__doc__ or "") for name in named)
    assert {kind.__name__ for kind in made} == set(named)


def test_a_spent_budget_is_not_to_be_tried_again_and_says_held_and_settled() -> None:
    error = errors.QuotaSpent(SPENT, own_settled="1", own_held="2")

    assert error.headers["x-should-retry"] == "false"
    assert "299.5 settled" in str(error)
    assert "0.25 held" in str(error)


def test_the_budget_of_the_whole_tells_a_client_its_own_figures_only() -> None:
    whole = BudgetSpent(
        scope="whole",
        period="2025-10",
        cap=Decimal(300),
        settled=Decimal("299.5"),
        held=Decimal("0.25"),
        orphaned=Decimal(0),
        wanted=Decimal("0.5"),
    )

    said = str(errors.QuotaSpent(whole, own_settled="1.5", own_held="0.125"))

    assert "1.5 USD settled" in said
    assert "0.125 USD held" in said
    assert "299.5" not in said


def test_a_model_nobody_listed_is_404_and_one_whose_price_has_ended_402_and_both_name_the_command() -> None:
    unknown = errors.of_unpriced(UnpricedModel("nope", AT, is_known=False))
    ended = errors.of_unpriced(UnpricedModel("old", AT, is_known=True))

    assert (unknown.status, unknown.code, ended.status) == (404, "model_not_found", 402)
    assert "halfpenny price add nope" in str(unknown)
    assert "halfpenny price add old" in str(ended)


def test_a_provider_that_refuses_our_key_does_not_look_as_if_the_clients_key_were_bad() -> None:
    sent = b'{"error": {"message": "Incorrect API key provided: sk-secret", "type": "x", "param": null, "code": "y"}}'

    error = errors.UpstreamRefused(401, sent, {}, "global_api")

    assert error.status == 502
    assert "sk-secret" not in str(error)


def test_a_providers_own_error_object_passes() -> None:
    sent = b'{"error": {"message": "Too long.", "type": "invalid_request_error", "param": "messages", "code": "ctx"}}'

    error = errors.UpstreamRefused(400, sent, {"retry-after": "1"}, "global_api")

    assert (str(error), error.param, error.code, error.headers) == (
        "Too long.",
        "messages",
        "ctx",
        {"retry-after": "1"},
    )


@pytest.mark.parametrize("sent", [b"<html>", b"", b"[" * 100_000, b'{"error": 1}', b"\xff"])
def test_a_provider_that_answers_nonsense_still_gives_a_sentence(sent: bytes) -> None:
    assert str(errors.UpstreamRefused(503, sent, {}, "global_api")) == "global_api answered with status 503."


def test_a_redirect_is_a_bad_gateway() -> None:
    assert errors.UpstreamRefused(307, b"", {}, "p").status == 502
