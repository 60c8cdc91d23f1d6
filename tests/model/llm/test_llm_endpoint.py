"""The endpoint: what is sent, and what happens when it misbehaves."""

from __future__ import annotations

import asyncio
import base64
import gzip
import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from faulty_server import KEY, Act, FaultyServer, Script, envelope
from hypothesis import given
from hypothesis import strategies as st

from components.llm import endpoint
from components.llm.chat import Message, Reply, Request
from components.llm.endpoint import EndpointModel, backoff, data_url, retry_after
from components.llm.errors import ChatConfigurationError, EndpointError, ReplyError
from components.llm.params import LLMParams

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
Serve = Callable[[Script], FaultyServer]
Make = Callable[..., LLMParams]
GOOD = Act('{"text": "a red mug"}')


def request(text: str = "describe", picture: bytes | None = None) -> Request:
    turns = (Message("system", "You describe."), Message("user", text, picture))
    return Request("summarizer", turns, SCHEMA, temperature=0.3, max_tokens=64, seed=5)


def ask(params: LLMParams, *requests: Request) -> list[Reply | Exception]:
    async def run() -> list[Any]:
        assert params.endpoint is not None
        model = EndpointModel(params.endpoint)
        try:
            return await asyncio.gather(*(model.reply(r) for r in requests), return_exceptions=True)
        finally:
            await model.close()
            ask.counts = dict(model.counts)  # type: ignore[attr-defined]

    return asyncio.run(run())


def counts() -> dict[str, int]:
    return ask.counts  # type: ignore[attr-defined, no-any-return]


def test_request_carries_picture_schema_parameters_and_key(serve: Serve, llm_params: Make) -> None:
    server = serve(lambda *_: GOOD)
    (reply,) = ask(llm_params(), request(picture=b"\x89PNG rest"))
    assert isinstance(reply, Reply)
    assert (reply.text, reply.cut, reply.usage.total) == ('{"text": "a red mug"}', False, 15)
    body = server.bodies[0]
    assert (body["model"], body["temperature"], body["max_tokens"], body["seed"]) == ("tiny", 0.3, 64, 5)
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA
    picture, text = body["messages"][1]["content"]
    assert (
        base64.b64decode(picture["image_url"]["url"].removeprefix("data:image/png;base64,"))
        == b"\x89PNG rest"
    )
    assert text == {"type": "text", "text": "describe"}
    assert server.headers[0]["authorization"] == "Bearer secret-key"


@pytest.mark.parametrize(
    ("form", "sent"), [("json_object", {"type": "json_object"}), ("none", None)], ids=["object", "none"]
)
def test_the_response_format_is_the_one_the_server_supports(
    serve: Serve, llm_params: Make, form: str, sent: object
) -> None:
    server = serve(lambda *_: GOOD)
    ask(llm_params(endpoint={"structured_output": form}), request())
    assert server.bodies[0].get("response_format") == sent


def test_many_answers_429_are_retried_until_one_succeeds(serve: Serve, llm_params: Make) -> None:
    server = serve(lambda n, _: Act(status=429) if n < 12 else GOOD)
    replies = ask(llm_params(endpoint={"retries": 12}), *(request(f"item {i}") for i in range(6)))
    assert all(isinstance(r, Reply) for r in replies)
    assert counts() == {"status_429": 12}
    assert max(server.paid.values()) == 1


def test_retry_after_delays_every_request(serve: Serve, llm_params: Make) -> None:
    server = serve(lambda n, _: Act(status=429, headers={"retry-after": "0.4"}) if n == 0 else GOOD)

    async def run() -> None:
        params = llm_params().endpoint
        assert params is not None
        model = EndpointModel(params)
        first = asyncio.create_task(model.reply(request("one")))
        while not model.counts:
            await asyncio.sleep(0.01)
        await asyncio.gather(first, model.reply(request("two")))
        await model.close()

    asyncio.run(run())
    assert min(server.times[1:]) - server.times[0] >= 0.38


def test_a_retry_after_beyond_the_limit_ends_the_work(serve: Serve, llm_params: Make) -> None:
    serve(lambda *_: Act(status=503, headers={"retry-after": "3600"}))
    (error,) = ask(llm_params(), request())
    assert isinstance(error, EndpointError) and "3600 s" in str(error)


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_passing_errors_are_retried(serve: Serve, llm_params: Make, status: int) -> None:
    serve(lambda n, _: Act(status=status) if n < 2 else GOOD)
    (reply,) = ask(llm_params(), request())
    assert isinstance(reply, Reply)
    assert counts() == {f"status_{status}": 2}


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (Act("{}", hang_s=9), "timeout"),
        (Act("{}", drip=True), "timeout"),
        (Act(close=True), "connection"),
        (Act(raw=b'{"choices": [{"mess'), "broken_response"),
        (Act(raw=b'{"choices": []}'), "broken_response"),
        (Act(raw=b"<html>gateway</html>"), "broken_response"),
    ],
    ids=["hang", "drip", "closed", "cut envelope", "no choice", "html"],
)
def test_a_bad_exchange_is_tried_again(serve: Serve, llm_params: Make, fault: Act, cause: str) -> None:
    serve(lambda n, _: fault if n == 0 else GOOD)
    start = time.monotonic()
    (reply,) = ask(llm_params(endpoint={"timeout_s": 0.5}), request())
    assert isinstance(reply, Reply)
    assert counts() == {cause: 1}
    assert time.monotonic() - start < 3


def counting(prompt: str) -> bytes:
    """An envelope whose server counts its prompt so."""
    return envelope(GOOD.text).replace(b'"prompt_tokens": 10', f'"prompt_tokens": {prompt}'.encode())


BLOWN_UP = gzip.compress(b'{"choices": "' + b" " * 300_000_000)  # 290 kB
HOSTILE = {
    "surrogate": (envelope("half \ud800"), "half of a character"),
    "huge count": (counting("1" + "0" * 400), "no count of tokens"),
    "endless count": (counting("1e999"), "prompt_tokens is inf"),
    "count below zero": (counting("-5"), "prompt_tokens is -5"),
    "count in words": (counting('"ten"'), "prompt_tokens is ten"),
    "count true": (counting("true"), "prompt_tokens is True"),
    "large": (envelope("x" * 5_000_000), "max_bytes=4,000,000"),
    "blown up": (BLOWN_UP, "max_bytes=4,000,000"),
}


@pytest.mark.parametrize(("raw", "told"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_answer_is_one_failed_request_with_a_reason(
    serve: Serve, llm_params: Make, raw: bytes, told: str
) -> None:
    packed = {"content-encoding": "gzip"} if raw is BLOWN_UP else {}
    server = serve(lambda _, body: Act(raw=raw, headers=packed) if "bad" in str(body) else GOOD)
    tracemalloc.start()
    bad, good = ask(llm_params(), request("bad"), request("good"))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(bad, ReplyError) and told in str(bad) and len(str(bad)) < 120
    assert isinstance(good, Reply) and len(server.bodies) == 2  # not asked again: it would be the same
    assert most < 150_000_000


@pytest.mark.parametrize("raw", [b"[" * 500_000, b'{"choices": ' + b"[" * 500_000], ids=["whole", "within"])
def test_an_envelope_nested_deep_is_a_broken_response(serve: Serve, llm_params: Make, raw: bytes) -> None:
    serve(lambda n, _: Act(raw=raw) if n == 0 else GOOD)
    (reply,) = ask(llm_params(), request())
    assert isinstance(reply, Reply) and counts() == {"broken_response": 1}


def test_answers_are_asked_for_unpacked_and_read_when_packed_by_gzip(serve: Serve, llm_params: Make) -> None:
    forms = [("gzip", gzip.compress(envelope(GOOD.text))), ("br", b"??")]
    server = serve(lambda n, _: Act(raw=forms[n][1], headers={"content-encoding": forms[n][0]}))
    (packed,) = ask(llm_params(), request())
    (unknown,) = ask(llm_params(), request())
    assert isinstance(packed, Reply) and packed.text == GOOD.text
    assert isinstance(unknown, ReplyError) and "'br'" in str(unknown)
    assert {h["accept-encoding"] for h in server.headers} == {"identity"}


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_to_all_ends_the_work_at_once(serve: Serve, llm_params: Make, status: int) -> None:
    server = serve(lambda *_: Act(status=status))
    (error,) = ask(llm_params(), request())
    assert isinstance(error, EndpointError) and str(status) in str(error) and "key" in str(error)
    assert "secret-key" not in str(error)
    assert len(server.bodies) == 1


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refusal_of_one_request_leaves_the_others(serve: Serve, llm_params: Make, status: int) -> None:
    serve(lambda _, body: Act(status=status) if "bad" in str(body) else GOOD)
    bad, good = ask(llm_params(), request("bad"), request("good"))
    assert isinstance(bad, ReplyError) and str(status) in str(bad)
    assert isinstance(good, Reply)


def test_one_request_that_always_hangs_fails_alone(serve: Serve, llm_params: Make) -> None:
    serve(lambda _, body: Act(hang_s=9) if "poison" in str(body) else GOOD)
    params = llm_params(endpoint={"timeout_s": 0.2, "retries": 1})
    poison, *others = ask(params, request("poison"), *(request(f"{i}") for i in range(5)))
    assert isinstance(poison, ReplyError) and "timeout after 2 attempts" in str(poison)
    assert all(isinstance(r, Reply) for r in others)


def test_an_endpoint_that_is_gone_ends_the_work(serve: Serve, llm_params: Make) -> None:
    server = serve(lambda *_: GOOD)
    server.stop()
    errors = ask(llm_params(endpoint={"retries": 1}), *(request(f"{i}") for i in range(3)))
    assert sum(isinstance(e, EndpointError) for e in errors) == 1
    assert "run again" in str(next(e for e in errors if isinstance(e, EndpointError)))


def test_a_missing_variable_or_a_wrong_url_is_said(
    serve: Serve, llm_params: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(lambda *_: GOOD)
    params = llm_params().endpoint
    assert params is not None
    monkeypatch.setenv(params.url_env, "localhost:8000")
    with pytest.raises(ChatConfigurationError, match="must be a URL"):
        EndpointModel(params)
    monkeypatch.delenv(KEY)
    with pytest.raises(ChatConfigurationError, match=KEY):
        EndpointModel(params)


@given(st.integers(1, 12), st.floats(0.01, 5), st.floats(0.01, 60))
def test_backoff_is_full_jitter_below_its_bounds(retry: int, base: float, most: float) -> None:
    assert 0 <= backoff(retry, base, most) <= min(most, base * 2**retry)


@pytest.mark.parametrize(("retry", "most"), [(1, 0.2), (3, 0.8), (9, 2.0)])
def test_waits_are_spread_over_the_whole_of_a_range_that_doubles(retry: int, most: float) -> None:
    waits = [backoff(retry, 0.1, 2.0) for _ in range(400)]
    thirds = [sum(most * i / 3 <= w <= most * (i + 1) / 3 for w in waits) for i in range(3)]
    assert min(thirds) > 80, thirds  # 133 are expected in each; 80 is over five deviations away


def test_each_attempt_after_a_429_waits_as_long_as_was_drawn(
    serve: Serve, llm_params: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[float]] = {}

    def first_time_429(_: int, body: dict[str, Any]) -> Act:
        times = seen.setdefault(body["messages"][1]["content"], [])
        times.append(time.monotonic())
        return Act(status=429) if len(times) == 1 else GOOD

    serve(first_time_429)
    drawn = [0.3, 0.05, 0.2, 0.1]
    left, asked = iter(drawn), []

    def draw(*arguments: float) -> float:
        asked.append(arguments)
        return next(left)

    monkeypatch.setattr(endpoint, "backoff", draw)
    replies = ask(llm_params(endpoint={"backoff_s": 0.5}), *(request(f"item {i}") for i in range(4)))
    assert all(isinstance(r, Reply) for r in replies) and asked == [(1, 0.5, 2.0)] * 4
    gaps = sorted(again - first for first, again in seen.values())
    assert all(gap >= wait - 0.005 for gap, wait in zip(gaps, sorted(drawn), strict=True)), gaps


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("2", 2), ("0.5", 0.5), ("-3", 0), ("nan", 0), ("inf", 0), ("soon", 0), ("", 0)],
)
def test_retry_after_in_seconds(header: str, seconds: float) -> None:
    assert retry_after(header) == seconds


def test_retry_after_as_a_date() -> None:
    header = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 25 < retry_after(header) <= 30


@pytest.mark.parametrize(
    ("start", "kind"), [(b"\xff\xd8\xff", "jpeg"), (b"\x89PNG", "png"), (b"RIFF", "webp"), (b"??", "jpeg")]
)
def test_pictures_are_typed_by_their_bytes(start: bytes, kind: str) -> None:
    assert data_url(start).startswith(f"data:image/{kind};base64,")
