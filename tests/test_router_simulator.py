"""The simulated provider: what it says is a function of the seed, what it bills is what it did."""

import asyncio
import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from aiohttp.test_utils import TestServer

from router.demo_sources import shipped_sources
from router.reply_prose import prose
from router.simulation import (
    MODELS,
    FaultRule,
    Prompt,
    chunks,
    fault_for,
    simulate,
    text_tokens,
    true_class,
)
from router.simulator import create_app, main
from router.simulator_config import FAULTS, SimulatorConfig, parse_fault
from router.simulator_wire import RequestRefused, read_call

MEDIUM, LARGE, FLASH = "mistralai/Mistral-Medium-3", "mistralai/Mistral-Large-3", "deepseek-ai/DeepSeek-V4-Flash"
SORTER = "You sort support tickets.\nAnswer simple or complex."


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Provider:
    """A simulator on loopback, a session that talks to it, and its books."""

    def __init__(self, url: str, session: aiohttp.ClientSession, log: Path) -> None:
        self.url, self.session, self.log = url, session, log

    def bills(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    async def ask(self, body: object, **headers: str) -> tuple[int, dict[str, str], bytes]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.post(self.url + "/v1/chat/completions", data=io.BytesIO(data), headers=named) as reply:
            return reply.status, dict(reply.headers), await reply.read()


@asynccontextmanager
async def provider(tmp_path: Path, **settings: Any) -> AsyncIterator[Provider]:
    log = tmp_path / f"provider-{time.monotonic_ns()}.jsonl"
    server = TestServer(create_app(SimulatorConfig(log=log, **settings)))
    await server.start_server()
    async with aiohttp.ClientSession() as session:
        try:
            yield Provider(str(server.make_url("")).rstrip("/"), session, log)
        finally:
            await server.close()


def question(text: str = "Where is my card?", model: str = MEDIUM, **more: object) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def events(stream: bytes) -> list[Any]:
    lines = [line[6:] for line in stream.decode().split("\n\n") if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def said(stream: bytes) -> str:
    return "".join(e["choices"][0]["delta"].get("content", "") for e in events(stream)[:-1] if e["choices"])


# --- the model of the model ---------------------------------------------------------------------------------------


def test_a_token_is_four_bytes_begun() -> None:
    # 4 letters; 5 letters; three euro signs of three bytes each; nothing.
    assert [text_tokens(t) for t in ("abcd", "abcde", "€€€", "")] == [1, 2, 3, 0]


def test_a_prompt_counts_its_texts_its_messages_and_itself() -> None:
    prompt = Prompt(model=MODELS[MEDIUM], messages=(("system", "abcde"), ("user", "€€€")), extra=b"12345")

    # 3 for the request, 4 + 2 and 4 + 3 for the messages, 2 for five bytes of tools.
    assert simulate(7, prompt).prompt_tokens == 3 + 6 + 7 + 2


def test_tokens_never_exceed_the_bytes_of_the_body() -> None:
    draw = random.Random(11)
    for _ in range(300):
        messages = [
            {"role": draw.choice(("user", "system")), "content": "".join(draw.choices("a€ß😀\n\"\x01", k=draw.randrange(9)))}
            for _ in range(draw.randrange(1, 6))
        ]  # fmt: skip
        for ascii_only in (True, False):
            body = json.dumps(
                {"model": "gpt-4o", "messages": messages}, ensure_ascii=ascii_only, separators=(",", ":")
            ).encode()
            assert simulate(7, read_call(body).prompt).prompt_tokens <= len(body)


def test_a_reply_depends_on_seed_content_and_model_and_on_nothing_else() -> None:
    def answer(seed: int, model: str, text: str, **more: Any) -> str:
        return simulate(seed, Prompt(model=MODELS[model], messages=(("user", text),), **more)).replies[0].text

    first = answer(7, MEDIUM, "Where is my card?")
    others = [
        answer(8, MEDIUM, "Where is my card?"),
        answer(7, LARGE, "Where is my card?"),
        answer(7, MEDIUM, "Where?"),
    ]

    assert answer(7, MEDIUM, "Where is my card?") == first
    assert first not in others
    assert first.startswith(answer(7, MEDIUM, "Where is my card?", max_tokens=20))
    assert (
        simulate(7, Prompt(model=MODELS[MEDIUM], messages=(("user", "Where is my card?"),), n=2)).replies[0].text
        == first
    )


def test_a_reply_has_the_tokens_it_states_and_speaks_of_the_ticket() -> None:
    for i in range(200):
        text = f"Where is my card number {i} €?"
        (reply,) = simulate(7, Prompt(model=MODELS[LARGE], messages=(("user", text),))).replies
        assert reply.tokens == text_tokens(reply.text)
        assert reply.finish_reason == "stop"
        assert text in reply.text[:160]
        assert reply.text[-1] in ".?"


def test_a_limit_cuts_the_reply_and_says_so() -> None:
    for limit in range(1, 60):
        prompt = Prompt(model=MODELS[MEDIUM], messages=(("user", "Überweisung 😀 €€ fehlt"),), max_tokens=limit)
        (reply,) = simulate(7, prompt).replies
        assert reply.finish_reason == "length"
        assert limit - 1 <= reply.tokens <= limit


def test_about_a_third_of_the_sample_is_complex_and_length_matters() -> None:
    texts = [ticket.text for ticket in shipped_sources().tickets]
    truths = [true_class(7, text) for text in texts]

    assert 0.30 <= truths.count("complex") / len(truths) <= 0.34
    short = [t for t, text in zip(truths, texts, strict=True) if len(text) < 40]
    long = [t for t, text in zip(truths, texts, strict=True) if len(text) > 120]
    assert short.count("complex") / len(short) < 0.25
    assert long.count("complex") / len(long) > 0.7
    assert true_class(7, "  " + texts[0] + "\n") == truths[0]


@pytest.mark.parametrize("seed", [1, 7, 23])
def test_the_classifier_sends_about_35_of_100_tickets_to_the_premium_arm(seed: int) -> None:
    answers: list[tuple[str, str]] = []
    for ticket in shipped_sources().tickets:
        prompt = Prompt(model=MODELS[FLASH], messages=(("system", SORTER), ("user", ticket.text)))
        answers.append((true_class(seed, ticket.text), simulate(seed, prompt).replies[0].text))

    def heard(text: str) -> str:
        return next((word for word in ("simple", "complex") if word in text.lower()), "odd")

    exact = sum(answer in ("simple", "complex") for _, answer in answers) / len(answers)
    odd = sum(heard(answer) == "odd" for _, answer in answers) / len(answers)
    wrong = sum(heard(answer) not in ("odd", truth) for truth, answer in answers) / len(answers)
    assert 0.33 <= sum(heard(answer) != "simple" for _, answer in answers) / len(answers) <= 0.37
    assert 0.84 <= exact <= 0.90
    assert 0.010 <= odd <= 0.020
    assert 0.05 <= wrong <= 0.07


def test_latency_has_the_medians_of_the_models_and_the_first_chunk_comes_earlier() -> None:
    for model, median in ((MEDIUM, 1.1), (LARGE, 1.4), (FLASH, 0.35)):
        answers = [simulate(7, Prompt(model=MODELS[model], messages=(("user", str(i)),))) for i in range(1500)]
        durations = sorted(answer.duration_s for answer in answers)
        assert durations[750] == pytest.approx(median, rel=0.04)
        assert all(0 < a.first_chunk_s < a.duration_s / 2 for a in answers)


def test_the_cache_serves_the_system_prefix_to_a_stable_share_in_steps_of_128() -> None:
    system = prose(7).passage(0.5, 20_000)
    asked = [Prompt(model=MODELS[MEDIUM], messages=(("system", system), ("user", str(i)))) for i in range(800)]
    cached = [simulate(7, prompt).cached_tokens for prompt in asked]

    assert 0.54 <= sum(c > 0 for c in cached) / 800 <= 0.66
    assert all(c % 128 == 0 and c <= text_tokens(system) + 4 for c in cached)
    assert min(c for c in cached if c) >= 1024
    assert simulate(7, Prompt(model=MODELS[MEDIUM], messages=(("system", "short"), ("user", "x")))).cached_tokens == 0


def test_chunks_join_to_the_text() -> None:
    text = prose(7).passage(0.1, 3_000).encode() + "\n\n ä  b ".encode()
    assert b"".join(chunks(text, 15)) == text
    assert b"".join(chunks(text, 1)) == text
    assert chunks(b"one two three", 2) == [b"one two", b" three"]
    assert chunks(b"", 2) == []


def test_configured_faults_strike_their_share_and_a_retry_draws_anew() -> None:
    rules = (FaultRule(fault="429", share=0.1, model=MEDIUM), FaultRule(fault="500", share=0.2))
    struck = [fault_for(rules, 7, str(i), MEDIUM, 1) for i in range(4000)]

    assert struck.count("429") / 4000 == pytest.approx(0.1, abs=0.015)
    assert struck.count("500") / 4000 == pytest.approx(0.2, abs=0.02)
    assert "429" not in [fault_for(rules, 7, str(i), LARGE, 1) for i in range(500)]
    assert struck == [fault_for(rules, 7, str(i), MEDIUM, 1) for i in range(4000)]
    assert struck != [fault_for(rules, 7, str(i), MEDIUM, 2) for i in range(4000)]


# --- the wire -----------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_the_openai_client_gets_the_same_reply_streamed_and_not_and_both_are_billed(tmp_path: Path) -> None:
    async with provider(tmp_path) as at, openai.AsyncOpenAI(base_url=at.url + "/v1", api_key="k") as client:
        messages: Any = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Where is my card?"}]
        whole = await client.chat.completions.create(
            model=MEDIUM, messages=messages, extra_headers={"x-request-id": "a.1"}
        )
        stream = await client.chat.completions.create(
            model=MEDIUM, messages=messages, stream=True, stream_options={"include_usage": True},
            extra_headers={"x-request-id": "b.1"},
        )  # fmt: skip
        parts = [part async for part in stream]
        listed = [model.id async for model in await client.models.list()]

        assert listed == list(MODELS)
        assert whole.model == MEDIUM
        assert whole.choices[0].finish_reason == "stop"
        assert whole.usage is not None
        text = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
        assert text == whole.choices[0].message.content
        assert parts[0].choices[0].delta.role == "assistant"
        assert parts[-2].choices[0].finish_reason == "stop"
        assert parts[-1].usage == whole.usage
        assert all(part.usage is None for part in parts[:-1])
        # "Be kind." is 2 tokens, the question 17 bytes or 5; 4 a message and 3 a request.
        assert whole.usage.prompt_tokens == 3 + 4 + 2 + 4 + 5
        assert whole.usage.total_tokens == 18 + text_tokens(text)
        for bill, request_id in zip(at.bills(), ("a.1", "b.1"), strict=True):
            assert bill.pop("time").endswith("Z")
            assert bill == {
                "request_id": request_id,
                "model": MEDIUM,
                "prompt_tokens": 18,
                "cached_tokens": 0,
                "completion_tokens": text_tokens(text),
                "status": 200,
                "complete": True,
            }


@pytest.mark.anyio
async def test_two_servers_with_one_seed_send_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    asked = [question(f"ticket {i}", (MEDIUM, FLASH)[i % 2], stream=i % 3 == 0) for i in range(24)]

    async def run(order: list[int], seed: int) -> dict[int, tuple[bytes, str]]:
        got: dict[int, tuple[bytes, str]] = {}
        async with provider(tmp_path, seed=seed) as at:

            async def one(i: int) -> None:
                _, headers, body = await at.ask(asked[i])
                got[i] = (body, headers["x-simulated-duration-s"] + headers["x-simulated-first-chunk-s"])

            await asyncio.gather(*map(one, order))
        return got

    forwards = await run(list(range(24)), 7)
    assert forwards == await run(list(range(23, -1, -1)), 7)
    assert forwards != await run(list(range(24)), 8)


@pytest.mark.anyio
async def test_a_stream_without_include_usage_has_no_usage_and_choices_are_told_apart(tmp_path: Path) -> None:
    async with provider(tmp_path, chunk_words=3) as at:
        _, headers, body = await at.ask(question(stream=True, n=2, max_tokens=30))

        assert headers["Content-Type"].startswith("text/event-stream")
        *chunked, done = events(body)
        assert done == "[DONE]"
        assert not any("usage" in chunk for chunk in chunked)
        texts = ["", ""]
        for chunk in chunked:
            texts[chunk["choices"][0]["index"]] += chunk["choices"][0]["delta"].get("content", "")
        assert texts[0] != texts[1]
        assert [chunk["choices"][0]["finish_reason"] for chunk in chunked[-2:]] == ["length"] * 2
        assert at.bills()[0]["completion_tokens"] == sum(map(text_tokens, texts)) == 60


@pytest.mark.anyio
async def test_a_stream_says_what_the_whole_says_with_quotes_and_control_characters_too(tmp_path: Path) -> None:
    async with provider(tmp_path, chunk_words=1) as at:
        text = 'a "b" \\ c\\u0020 \x00 \x1f ä 😀 \u2028 end'
        whole = json.loads((await at.ask(question(text)))[2])["choices"][0]["message"]["content"]

        assert "😀" in whole
        assert said((await at.ask(question(text, stream=True)))[2]) == whole


@pytest.mark.anyio
async def test_real_mode_takes_the_time_it_states_and_fast_mode_does_not(tmp_path: Path) -> None:
    for mode in ("real", "fast"):
        async with provider(tmp_path, mode=mode) as at:
            for stream in (False, True):
                began = time.monotonic()
                _, headers, _ = await at.ask(question(model=FLASH, stream=stream, max_tokens=200))
                took = time.monotonic() - began
                stated = float(headers["x-simulated-duration-s"])
                assert stated * 0.95 < took < stated + 0.6 if mode == "real" else took < 0.15


BAD_BODIES = [
    (b"", 400),
    (b"{", 400),
    (b"[]", 400),
    (b"\xff\xfe", 400),
    ({"model": MEDIUM}, 400),
    ({"model": MEDIUM, "messages": []}, 400),
    ({"model": MEDIUM, "messages": "hello"}, 400),
    ({"model": 7, "messages": [{"role": "user", "content": "x"}]}, 400),
    (question(n=0), 400),
    (question(n=99), 400),
    (question(max_tokens=0), 400),
    (question(max_completion_tokens="9"), 400),
    (question(stream="yes"), 400),
    ({"model": MEDIUM, "messages": [{"role": "wizard", "content": "x"}]}, 400),
    ({"model": MEDIUM, "messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]}, 400),
    (b'{"model":"gpt-4o","messages":[{"role":"user","content":"\\ud800 abcdefgh"}]}', 400),
    (question(model="gpt-9"), 404),
    (question("x" * 200_000, model="Qwen/Qwen3-32B"), 400),
    (question("x" * 9_000_000), 413),
]


@pytest.mark.anyio
async def test_malformed_requests_are_refused_in_openai_shape_and_never_billed(tmp_path: Path) -> None:
    async with provider(tmp_path) as at:
        for body, status in BAD_BODIES:
            got, _, reply = await at.ask(body)
            error = json.loads(reply)["error"]
            assert (got, set(error)) == (status, {"message", "type", "param", "code"})
        got, _, reply = await at.ask(question(), x_simulate_fault="gremlin")
        assert got == 400
        assert "cut_stream" in json.loads(reply)["error"]["message"]
        for moment in ("yesterday", "2025-10-03T10:15:00", "0001-01-01T00:00:00+14:00"):
            assert (await at.ask(question(stream=True), x_simulate_time=moment))[0] == 400
        assert (await at.ask(question(), x_simulate_fault="429@" + "9" * 5000))[0] == 400
        for method, path, expected in (("GET", "/v1/chat/completions", 405), ("GET", "/nowhere", 404)):
            async with at.session.request(method, at.url + path) as reply_to:
                assert reply_to.status == expected
                assert "error" in await reply_to.json()
        async with at.session.get(at.url + "/healthz") as health:
            assert (await health.json())["status"] == "ok"

        assert at.bills() == []


def test_a_refusal_never_quotes_the_prompt() -> None:
    for body in (b'{"model":"gpt-4o","messages":[{"role":"user","content":"s3cret"}],"n":"s3cret"}', b'{"s3cret'):
        with pytest.raises(RequestRefused) as refused:
            read_call(body)
        assert b"s3cret" not in refused.value.body


@pytest.mark.anyio
async def test_parts_and_tools_are_counted(tmp_path: Path) -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}
    message = {"role": "user", "content": [{"type": "text", "text": "abcde"}, picture]}
    async with provider(tmp_path) as at:
        await at.ask({"model": "gpt-4o", "messages": [message], "tools": [{"type": "function"}]})

        extra = len(json.dumps(picture)) + len('[{"type": "function"}]')
        assert at.bills()[0]["prompt_tokens"] == 3 + 4 + 2 + -(-extra // 4)


@pytest.mark.anyio
async def test_a_replayed_moment_is_the_moment_of_the_bill(tmp_path: Path) -> None:
    async with provider(tmp_path) as at:
        await at.ask(question(), x_simulate_time="2025-10-03T10:15:00+02:00")

        assert at.bills()[0]["time"] == "2025-10-03T08:15:00.000000Z"


# --- faults -------------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_refusals_are_not_billed_and_429_says_when_to_retry(tmp_path: Path) -> None:
    async with provider(tmp_path) as at:
        status, headers, body = await at.ask(question(), x_simulate_fault="429")
        assert (status, headers["Retry-After"]) == (429, "1")
        assert json.loads(body)["error"]["code"] == "rate_limit_exceeded"
        status, _, body = await at.ask(question(stream=True), x_simulate_fault="500")
        assert status == 500
        assert json.loads(body)["error"]["type"] == "server_error"

        assert at.bills() == []


@pytest.mark.anyio
async def test_a_fault_may_strike_one_attempt_only(tmp_path: Path) -> None:
    async with provider(tmp_path) as at:
        statuses = [
            (await at.ask(question(), x_simulate_fault="429@1", x_request_id=f"c0ffee.{attempt}"))[0]
            for attempt in (1, 2)
        ]
        assert statuses == [429, 200]
        assert [bill["request_id"] for bill in at.bills()] == ["c0ffee.2"]


@pytest.mark.anyio
async def test_usage_faults_lie_to_the_client_and_not_to_the_books(tmp_path: Path) -> None:
    async with provider(tmp_path) as at:
        truth = json.loads((await at.ask(question()))[2])["usage"]
        for stream in (False, True):
            seen: dict[str, Any] = {}
            for fault in ("no_usage", "zero_usage", "liar_usage"):
                asked = question(stream=stream, stream_options={"include_usage": True})
                body = (await at.ask(asked, x_simulate_fault=fault))[2]
                reply = events(body)[-2] if stream else json.loads(body)
                seen[fault] = reply.get("usage")
            assert seen["no_usage"] is None
            assert [seen["zero_usage"][key] for key in ("prompt_tokens", "completion_tokens", "total_tokens")] == [
                0
            ] * 3
            assert seen["liar_usage"]["total_tokens"] == 42
            assert seen["liar_usage"] != truth

        assert len(at.bills()) == 7
        for bill in at.bills():
            counts = bill["prompt_tokens"], bill["completion_tokens"], bill["complete"]
            assert counts == (truth["prompt_tokens"], truth["completion_tokens"], True)


@pytest.mark.anyio
async def test_the_wrong_model_says_and_bills_its_own_name(tmp_path: Path) -> None:
    async with provider(tmp_path) as at:
        whole = json.loads((await at.ask(question(), x_simulate_fault="wrong_model"))[2])
        stream = events((await at.ask(question(stream=True), x_simulate_fault="wrong_model"))[2])

        assert whole["model"] == LARGE
        assert {chunk["model"] for chunk in stream[:-1]} == {LARGE}
        assert [bill["model"] for bill in at.bills()] == [LARGE, LARGE]
        assert all(model.impostor in MODELS and model.impostor != model.name for model in MODELS.values())


@pytest.mark.anyio
async def test_malformed_json_is_billed_in_full(tmp_path: Path) -> None:
    async with provider(tmp_path) as at:
        status, _, body = await at.ask(question(), x_simulate_fault="malformed_json")
        _, _, stream = await at.ask(question(stream=True), x_simulate_fault="malformed_json")

        assert status == 200
        for broken in (lambda: json.loads(body), lambda: events(stream)):
            with pytest.raises(json.JSONDecodeError):
                broken()
        assert stream.endswith(b"[DONE]\n\n")
        assert [bill["complete"] for bill in at.bills()] == [True, True]


@pytest.mark.anyio
async def test_a_cut_reply_ends_in_a_reset_and_is_billed_as_far_as_it_came(tmp_path: Path) -> None:
    async with provider(tmp_path) as at:
        whole = json.loads((await at.ask(question()))[2])["usage"]["completion_tokens"]
        for stream in (True, False):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(at.url.rpartition(":")[2]))
            data = json.dumps(question(stream=stream)).encode()
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nx-simulate-fault: cut_stream\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(data), data)
            )
            got, was_reset = b"", False
            try:
                while part := await reader.read(4096):
                    got += part
            except ConnectionResetError:
                was_reset = True
            writer.close()
            assert was_reset
            bill = at.bills()[-1]

            assert got.startswith(b"HTTP/1.1 200 OK")
            assert b"[DONE]" not in got
            assert bill["complete"] is False
            assert whole * 0.4 < bill["completion_tokens"] < whole * 0.6
            if stream:
                lines = [line for line in got.split(b"\n") if line.startswith(b"data: ")]
                heard = "".join(json.loads(line[6:])["choices"][0]["delta"].get("content", "") for line in lines)
                assert text_tokens(heard) == bill["completion_tokens"]


@pytest.mark.anyio
async def test_a_timeout_bills_first_and_answers_late_and_a_hang_does_neither(tmp_path: Path) -> None:
    async with provider(tmp_path, late_s=0.6) as at:
        patience = aiohttp.ClientTimeout(total=0.3)
        for fault in ("timeout", "hang"):
            with pytest.raises(TimeoutError):
                async with at.session.post(
                    at.url + "/v1/chat/completions",
                    json=question(),
                    headers={"x-simulate-fault": fault, "x-request-id": fault},
                    timeout=patience,
                ):
                    raise AssertionError("answered")
        status, _, body = await at.ask(question(), x_simulate_fault="timeout", x_request_id="patient")

        bills = at.bills()
        assert [(bill["request_id"], bill["complete"]) for bill in bills] == [("timeout", False), ("patient", False)]
        assert status == 200
        assert bills[1]["completion_tokens"] == json.loads(body)["usage"]["completion_tokens"]


@pytest.mark.anyio
async def test_a_slow_drip_brings_one_byte_at_a_time_and_is_billed_at_once(tmp_path: Path) -> None:
    async with provider(tmp_path, drip_s=0.05) as at:
        for stream in (False, True):
            headers = {"x-simulate-fault": "slow_drip"}
            async with at.session.post(
                at.url + "/v1/chat/completions", json=question(stream=stream), headers=headers
            ) as reply:
                sizes = [len(await reply.content.readany()) for _ in range(3)]
            assert sizes == [1, 1, 1]

        assert [bill["complete"] for bill in at.bills()] == [True, True]


@pytest.mark.anyio
async def test_a_client_that_hangs_up_changes_nothing_in_the_books(tmp_path: Path) -> None:
    async with provider(tmp_path, mode="real", chunk_words=5) as at:
        async with at.session.post(at.url + "/v1/chat/completions", json=question(model=FLASH, stream=True)) as reply:
            await reply.content.readany()
            reply.close()
        # The Flash model needs 0.35 s as a rule; nobody tells us when it is done.
        for _ in range(250):
            if at.bills():
                break
            await asyncio.sleep(0.02)

        (bill,) = at.bills()
        expected = simulate(7, read_call(json.dumps(question(model=FLASH)).encode()).prompt)
        assert (bill["complete"], bill["completion_tokens"]) == (True, expected.completion_tokens)


def test_every_fault_has_a_test_that_names_it() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    assert [fault for fault in FAULTS if f'"{fault}' not in source and f"x-simulate-fault: {fault}" not in source] == []


@pytest.mark.anyio
async def test_a_configured_fault_strikes_its_model_only(tmp_path: Path) -> None:
    async with provider(tmp_path, faults=(FaultRule(fault="500", share=1.0, model=LARGE),)) as at:
        assert (await at.ask(question(model=LARGE)))[0] == 500
        assert (await at.ask(question(model=MEDIUM)))[0] == 200


@pytest.mark.anyio
async def test_a_thousand_calls_at_once_are_billed_once_each_as_the_replies_say(tmp_path: Path) -> None:
    async with provider(tmp_path) as at:

        async def one(i: int) -> tuple[str, int, int, int]:
            body = (await at.ask(question(f"ticket {i}", max_tokens=100), x_request_id=f"id-{i}.1"))[2]
            usage = json.loads(body)["usage"]
            cached = usage["prompt_tokens_details"]["cached_tokens"]
            return f"id-{i}.1", usage["prompt_tokens"], usage["completion_tokens"], cached

        stated = await asyncio.gather(*(one(i) for i in range(1000)))
        billed = [(b["request_id"], b["prompt_tokens"], b["completion_tokens"], b["cached_tokens"]) for b in at.bills()]

        assert sorted(billed) == sorted(stated)


# --- the command --------------------------------------------------------------------------------------------------


def test_the_command_says_where_it_listens_and_ends_on_a_signal(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "router.simulator", "--port", "0", "--log", str(tmp_path / "provider.jsonl")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            client = openai.OpenAI(base_url=line.split()[-1] + "/v1", api_key="k", max_retries=0)
            with client:
                client.chat.completions.create(model=FLASH, messages=[{"role": "user", "content": "x"}])
            hung = socket.create_connection(("127.0.0.1", int(line.strip().rpartition(":")[2])))
            hung.sendall(b"POST /v1/chat/completions HTTP/1.1\r\n")
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
        hung.close()
    assert line.startswith("listening on http://127.0.0.1:")
    assert len((tmp_path / "provider.jsonl").read_text().splitlines()) == 1


def test_asked_wrongly_is_2_and_a_taken_port_is_5(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["--port", str(taken.getsockname()[1])]) == 5
    assert main(["--fault", "gremlin=0.5"]) == 2
    assert main(["--log", os.devnull + "/nothing"]) == 5
    assert capsys.readouterr().err.count("\n") == 3
    assert parse_fault(f"429=0.25@{MEDIUM}") == FaultRule(fault="429", share=0.25, model=MEDIUM)
    for wrong in ("429", "429=2", "429=x", "429=0.1@nobody"):
        with pytest.raises(ValueError, match="Expected NAME=SHARE"):
            parse_fault(wrong)
