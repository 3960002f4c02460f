"""A request parsed once: known fields are checked, all others travel as the bytes they came in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from router.capabilities import BY_HOST, UNKNOWN, Capabilities
from router.chat_request import last_user_text, read_request, ticket_fields, ticket_request, upstream_body
from router.errors import BadRequest

ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def sent(
    asked: dict[str, Any] | bytes, *, model: str = "m", bound: int = 100, takes: Capabilities = UNKNOWN
) -> dict[str, Any]:
    """What goes upstream for what was asked."""
    body = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
    found = upstream_body(read_request(body), model=model, max_output_tokens=bound, takes=takes)
    decoded: dict[str, Any] = json.loads(found)
    return decoded


def test_unknown_fields_pass_through_untouched() -> None:
    extra = {"tools": [{"type": "function"}], "x_new": {"a": [1, 2.50, None]}, "seed": 7, "temperature": 0.30}

    assert sent(ASKED | extra) == ASKED | extra | {"max_completion_tokens": 100}


def test_a_number_is_not_rewritten_on_its_way() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":5,"logit_bias":{"1":1.0000000000000000001}}'

    out = upstream_body(read_request(body), model="m", max_output_tokens=1, takes=UNKNOWN)

    assert b"1.0000000000000000001" in out


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({}, {"max_completion_tokens": 100}),
        ({"max_completion_tokens": None}, {"max_completion_tokens": 100}),
        ({"max_tokens": None}, {"max_completion_tokens": 100}),
        ({"max_tokens": 7}, {"max_tokens": 7}),
        ({"max_completion_tokens": 9}, {"max_completion_tokens": 9}),
        ({"max_completion_tokens": 9, "max_tokens": 7}, {"max_completion_tokens": 9, "max_tokens": 7}),
    ],
)
def test_a_bound_is_imposed_only_where_the_client_set_none(bounds: dict[str, Any], expected: dict[str, int]) -> None:
    out = sent(ASKED | bounds)

    assert {name: out[name] for name in out if name.startswith("max_")} == expected


def test_of_two_bounds_the_larger_counts_since_the_provider_may_heed_either() -> None:
    body = json.dumps(ASKED | {"max_completion_tokens": 9, "max_tokens": 70}).encode()

    assert read_request(body).max_output_tokens == 70


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({}, {"include_usage": True}),
        ({"stream_options": None}, {"include_usage": True}),
        ({"stream_options": {"include_usage": False, "x": 1}}, {"include_usage": True, "x": 1}),
        ({"stream_options": {"include_usage": True}}, {"include_usage": True}),
    ],
)
def test_a_stream_is_always_asked_for_its_usage(fields: dict[str, Any], options: dict[str, Any]) -> None:
    assert sent(ASKED | {"stream": True} | fields)["stream_options"] == options


REFUSES_USAGE = Capabilities(takes_stream_usage=False)


@pytest.mark.parametrize(
    ("takes", "options", "expected"),
    [
        (REFUSES_USAGE, None, None),
        (REFUSES_USAGE, {"include_usage": True}, None),
        (REFUSES_USAGE, {"include_usage": False, "x": 1}, {"x": 1}),
        (BY_HOST["mistral.ai"], {"include_usage": True}, None),
        (BY_HOST["openrouter.ai"], None, None),
        (BY_HOST["openrouter.ai"], {"include_usage": True}, {"include_usage": True}),
        (BY_HOST["openai.com"], None, {"include_usage": True}),
    ],
)
def test_usage_is_asked_for_only_where_that_is_taken_and_needed(
    takes: Capabilities, options: dict[str, Any] | None, expected: dict[str, Any] | None
) -> None:
    assert sent(ASKED | {"stream": True, "stream_options": options}, takes=takes).get("stream_options") == expected


@pytest.mark.parametrize(
    ("host", "bounds", "expected"),
    [
        ("mistral.ai", {}, {"max_tokens": 100}),
        ("mistral.ai", {"max_tokens": 7}, {"max_tokens": 7}),
        ("mistral.ai", {"max_completion_tokens": 7}, {"max_tokens": 7}),
        ("mistral.ai", {"max_completion_tokens": 9, "max_tokens": 7}, {"max_tokens": 9}),
        ("mistral.ai", {"max_completion_tokens": None, "max_tokens": 7}, {"max_tokens": 7}),
        ("openai.com", {}, {"max_completion_tokens": 100}),
        ("openai.com", {"max_tokens": 7}, {"max_completion_tokens": 7}),
        ("openai.com", {"max_completion_tokens": 9, "max_tokens": 70}, {"max_completion_tokens": 70}),
        (
            "deepseek.com",
            {"max_completion_tokens": 7},
            {"max_tokens": 7},
        ),  # it ignores the other name, so nothing would bound
    ],
)
def test_a_bound_goes_under_the_name_the_provider_takes_its_value_unchanged(
    host: str, bounds: dict[str, Any], expected: dict[str, int]
) -> None:
    out = sent(ASKED | bounds, takes=BY_HOST[host])

    assert {name: out[name] for name in out if name.startswith("max_")} == expected


def test_a_bound_that_needs_no_other_name_leaves_the_bytes_as_they_came() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":7,"seed":1.50}'

    assert upstream_body(read_request(body), model="m", max_output_tokens=1, takes=BY_HOST["mistral.ai"]) == body


def test_a_clients_metadata_is_left_out_where_the_provider_refuses_it() -> None:
    metadata = {"metadata": {"team": "a", "ticket_id": "T-1"}}

    assert "metadata" not in sent(ASKED | metadata, takes=BY_HOST["groq.com"])
    assert sent(ASKED | metadata, takes=BY_HOST["mistral.ai"])["metadata"] == {"team": "a"}


def test_the_gateways_own_metadata_goes_no_further() -> None:
    own = {"ticket_id": "T-1", "purpose": "judge"}

    request = read_request(json.dumps(ASKED | {"metadata": own}).encode())

    assert (request.ticket_id, request.purpose) == ("T-1", "judge")
    assert "metadata" not in sent(ASKED | {"metadata": own})
    assert sent(ASKED | {"metadata": own | {"team": "a"}})["metadata"] == {"team": "a"}
    assert sent(ASKED | {"metadata": {"team": "a"}})["metadata"] == {"team": "a"}


def test_a_key_given_twice_counts_once_and_is_sent_once() -> None:
    body = b'{"model":"dear","model":"cheap","messages":[{"role":"user","content":"x"}],"n":9,"n":1}'

    out = upstream_body(read_request(body), model="cheap", max_output_tokens=1, takes=UNKNOWN)

    assert out.count(b'"model"') == out.count(b'"n"') == 1
    assert read_request(body).choices == 1


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"not json", None),
        (b"[1]", None),
        (b'{"a":1', None),
        (b'{"a":NaN}', None),
        (b'{"a":"\xff"}', None),
        (b'{"a":"\\ud800"}', None),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
        (b'{"messages":[{"role":"user","content":"x"}]}', "model"),
        (b'{"model":null,"messages":[{}]}', "model"),
        (b'{"model":7,"messages":[{}]}', "model"),
        (b'{"model":"","messages":[{}]}', "model"),
        (b'{"model":"a\\nb","messages":[{}]}', "model"),
        (b'{"model":"' + b"m" * 257 + b'","messages":[{}]}', "model"),
        (b'{"model":"m"}', "messages"),
        (b'{"model":"m","messages":[]}', "messages"),
        (b'{"model":"m","messages":[ ]}', "messages"),
        (b'{"model":"m","messages":"hi"}', "messages"),
        (b'{"model":"m","messages":null}', "messages"),
        (b'{"model":"m","messages":[{}],"stream":"yes"}', "stream"),
        (b'{"model":"m","messages":[{}],"n":0}', "n"),
        (b'{"model":"m","messages":[{}],"n":1.5}', "n"),
        (b'{"model":"m","messages":[{}],"n":129}', "n"),
        (b'{"model":"m","messages":[{}],"max_tokens":-1}', "max_tokens"),
        (b'{"model":"m","messages":[{}],"max_tokens":"9"}', "max_tokens"),
        (b'{"model":"m","messages":[{}],"max_completion_tokens":99999999999999999999}', "max_completion_tokens"),
        (b'{"model":"m","messages":[{}],"stream_options":[]}', "stream_options"),
        (b'{"model":"m","messages":[{}],"metadata":"x"}', "metadata"),
        (b'{"model":"m","messages":[{}],"metadata":{"ticket_id":7}}', "metadata.ticket_id"),
        (b'{"model":"m","messages":[{}],"metadata":{"ticket_id":"a\\u0000b"}}', "metadata.ticket_id"),
        (b'{"model":"m","messages":[{}],"metadata":{"purpose":"fun"}}', "metadata.purpose"),
    ],
)
def test_what_cannot_be_taken_names_the_field(body: bytes, param: str | None) -> None:
    with pytest.raises(BadRequest) as refused:
        read_request(body)

    assert (refused.value.status, refused.value.param) == (400, param)


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([{"role": "user", "content": "one"}], "one"),
        (
            [
                {"role": "user", "content": "one"},
                {"role": "assistant", "content": "x"},
                {"role": "user", "content": "two"},
            ],
            "two",
        ),
        ([{"role": "user", "content": "one"}, {"role": "tool", "content": "x"}], "one"),
        (
            [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}],
                }
            ],
            "a\nb",
        ),
        ([{"role": "user", "content": "tab\tnul\u0000 end"}], "tab\tnul\u0000 end"),
    ],
)
def test_the_ticket_of_a_routed_call_is_the_last_user_message(messages: list[object], expected: str) -> None:
    request = read_request(json.dumps({"model": "auto", "messages": messages}).encode())

    assert last_user_text(request.fields) == expected


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "system", "content": "x"}],
        [{"role": "user", "content": "  \n"}],
        [{"role": "user"}],
        [{"role": "user", "content": None}],
        [{"role": "user", "content": 7}],
        [{"content": "x"}],
        ["x"],
        [{"role": "user", "content": [{"type": "image_url"}]}],
    ],
)
def test_a_routed_call_without_a_ticket_is_refused(messages: list[object]) -> None:
    request = read_request(json.dumps({"model": "auto", "messages": messages}).encode())

    with pytest.raises(BadRequest):
        last_user_text(request.fields)


def test_a_ticket_becomes_a_prompt_its_context_and_the_ticket_last() -> None:
    said = {"text": "Help!", "ticket_id": "T-1", "messages": [{"role": "system", "content": "FAQ"}], "temperature": 0}
    fields, ticket, ticket_id = ticket_fields(json.dumps(said).encode())

    request = ticket_request(fields, ticket, ticket_id or "", system_prompt="You draft.")

    assert (request.model, request.ticket_id, ticket) == ("auto", "T-1", "Help!")
    out = json.loads(upstream_body(request, model="m", max_output_tokens=9, takes=UNKNOWN))
    assert [m["content"] for m in out["messages"]] == ["You draft.", "FAQ", "Help!"]
    assert set(out) == {"model", "messages", "temperature", "max_completion_tokens"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "text"),
        ({"text": ""}, "text"),
        ({"text": " \n"}, "text"),
        ({"text": None}, "text"),
        ({"text": 7}, "text"),
        ({"text": "x", "ticket_id": ""}, "ticket_id"),
        ({"text": "x", "ticket_id": 7}, "ticket_id"),
        ({"text": "x", "messages": "y"}, "messages"),
        ({"text": "x", "messages": [7]}, "messages"),
    ],
)
def test_a_ticket_that_cannot_be_taken_names_the_field(body: dict[str, Any], param: str) -> None:
    def ask() -> None:
        fields, ticket, ticket_id = ticket_fields(json.dumps(body).encode())
        ticket_request(fields, ticket, ticket_id or "T", system_prompt="p")

    with pytest.raises(BadRequest) as refused:
        ask()

    assert refused.value.param == param
