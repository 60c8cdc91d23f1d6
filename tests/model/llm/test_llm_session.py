"""Asking for JSON: kept answers, budget, re-asks, order."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from diskcache import Cache, JSONDisk
from faulty_server import Act, FaultyServer, Script

from components.llm.chat import Message, Reply, Request, Usage
from components.llm.errors import BudgetSpentError, EndpointError, TooManyFailuresError
from components.llm.offline import OfflineModel
from components.llm.open_model import open_model
from components.llm.params import LLMParams
from components.llm.session import (
    Answer,
    ChatSession,
    ResponseCache,
    SchemaCheck,
    check_failures,
    in_order,
    parse_answer,
)
from components.stage.errors import ConfigurationError
from components.stage.params import validate

SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string", "maxLength": 20}},
    "required": ["text"],
    "additionalProperties": False,
}
Serve = Callable[[Script], FaultyServer]
Make = Callable[..., LLMParams]
GOOD = Act('{"text": "a red mug"}')


def run(
    params: LLMParams, questions: list[str], cache: Path | None = None
) -> tuple[list[Answer] | Exception, dict[str, float]]:
    """Ask all questions; answers in order, or the error that ended it, and the figures."""

    async def go() -> tuple[list[Answer] | Exception, dict[str, float]]:
        session = ChatSession(open_model(params, {}, "none"), params, cache)

        async def one(question: str) -> Answer:
            return await session.ask("summarizer", (Message("user", question),), SCHEMA)

        try:
            answers = [a async for a in in_order(one, questions, session.model.concurrency)]
            return answers, session.figures()
        except (BudgetSpentError, EndpointError) as error:
            return error, session.figures()
        finally:
            await session.close()

    return asyncio.run(go())


QUESTIONS = [f"question {i}" for i in range(24)]


def test_answers_come_in_order_and_requests_stay_within_the_bound(serve: Serve, llm_params: Make) -> None:
    def script(n: int, body: dict[str, Any]) -> Act:
        asked = body["messages"][0]["content"]
        return Act(json.dumps({"text": asked}), hang_s=0.05 if n % 3 == 0 else 0.0)

    server = serve(script)
    answers, figures = run(llm_params(), QUESTIONS)
    assert [a.value for a in answers] == [{"text": q} for q in QUESTIONS]  # type: ignore[union-attr]
    assert server.most_under_way <= 4
    assert figures["requests"] == 24 and figures["prompt_tokens"] == 240


@pytest.mark.parametrize(
    ("bad", "counted", "told"),
    [
        (Act("Sure! Here it is"), "malformed", "not JSON"),
        (Act('{"text": "a red'), "malformed", "not JSON"),
        (Act('["text"]'), "malformed", "not a JSON object"),
        (Act('{"text": 7}'), "malformed", "text"),
        (Act('{"text": "a", "note": "b"}'), "malformed", "note"),
        (Act('{"text": "a", "text": "b"}'), "malformed", "twice"),
        (Act('{"text": "much too long for this schema"}'), "malformed", "text"),
        (Act("[" * 500_000), "malformed", "not JSON"),
        (Act('{"text": ' + "[" * 900 + "]" * 900 + "}"), "malformed", ""),
        (Act('{"text": "\\ud800"}'), "malformed", "codec can't encode"),
        (Act('{"text": 1e999}'), "malformed", "not JSON compliant"),
        (Act(""), "malformed", "not JSON"),
        (Act('{"text": "a red mug"}', finish="length"), "cut", "cut"),
    ],
    ids=[
        "prose",
        "half",
        "list",
        "type",
        "extra key",
        "two keys",
        "long",
        "deep",
        "deep value",
        "surrogate",
        "infinity",
        "empty",
        "cut",
    ],
)
def test_a_bad_answer_is_asked_again_with_its_problem(
    serve: Serve, llm_params: Make, bad: Act, counted: str, told: str
) -> None:
    server = serve(lambda n, _: bad if n == 0 else GOOD)
    answers, figures = run(llm_params(), ["one"])
    assert answers == [Answer({"text": "a red mug"}, "", 2)]
    assert figures[counted] == 1
    first, second = server.bodies
    assert told in second["messages"][-1]["content"]
    assert second["seed"] == first["seed"] + 1  # a sampled answer must get a chance to differ
    assert len(str(second)) < 5_000


def test_reasks_are_bounded_and_the_item_fails_with_a_reason(serve: Serve, llm_params: Make) -> None:
    server = serve(lambda _, body: Act("no") if "question 3" in str(body) else GOOD)
    answers, figures = run(llm_params(), QUESTIONS)
    assert isinstance(answers, list)
    failed = [a for a in answers if a.value is None]
    assert len(failed) == 1 and "3 attempts" in failed[0].reason
    assert len(server.bodies) == 23 + 3 and figures["malformed"] == 3


def test_a_fence_is_taken_off() -> None:
    fenced = '```json\n{"text": "a"}\n```'
    assert parse_answer(fenced, SchemaCheck(SCHEMA)) == ({"text": "a"}, "")
    assert parse_answer(f"Well: {fenced}", SchemaCheck(SCHEMA))[0] is None


def test_nothing_is_paid_twice(serve: Serve, llm_params: Make, tmp_path: Path) -> None:
    server = serve(lambda n, _: Act("bad") if n == 5 else GOOD)
    first, _ = run(llm_params(), QUESTIONS + QUESTIONS[:6], tmp_path / "replies.sqlite")
    paid = len(server.bodies)
    assert paid == len(QUESTIONS) + 1  # equal questions share one answer, even while it is under way
    second, figures = run(llm_params(), QUESTIONS, tmp_path / "replies.sqlite")
    assert len(server.bodies) == paid and max(server.paid.values()) == 1
    assert isinstance(first, list) and first[: len(QUESTIONS)] == second
    assert figures["cached"] == paid


def test_an_endpoint_gone_in_the_middle_keeps_what_is_done(
    serve: Serve, llm_params: Make, tmp_path: Path
) -> None:
    cache = tmp_path / "replies.sqlite"
    first = serve(lambda n, _: GOOD if n < 10 else Act(close=True))
    error, figures = run(llm_params(endpoint={"retries": 1}), QUESTIONS, cache)
    assert isinstance(error, EndpointError) and figures["requests"] == 10
    second = serve(lambda *_: GOOD)
    answers, _ = run(llm_params(), QUESTIONS, cache)
    assert isinstance(answers, list) and all(a.value for a in answers)
    both = first.paid + second.paid
    assert len(both) == len(QUESTIONS) and max(both.values()) == 1


@pytest.mark.parametrize("limit", [{"requests": 10, "tokens": None}, {"requests": None, "tokens": 400}])
def test_a_budget_stops_cleanly_and_a_raised_one_goes_on(
    serve: Serve, llm_params: Make, tmp_path: Path, limit: dict[str, int | None]
) -> None:
    cache = tmp_path / "replies.sqlite"
    server = serve(lambda *_: GOOD)
    error, _ = run(llm_params(budget=limit), QUESTIONS, cache)
    assert isinstance(error, BudgetSpentError) and "llm.budget." in str(error)
    spent = len(server.bodies)
    assert 0 < spent <= (limit["requests"] or 24) and 15 * spent <= (limit["tokens"] or 10**6)
    again, _ = run(llm_params(budget=limit), QUESTIONS, cache)
    assert isinstance(again, BudgetSpentError)
    if limit["requests"]:
        assert len(server.bodies) == spent == 10  # the same place, and nothing more paid
    answers, _ = run(llm_params(), QUESTIONS, cache)
    assert isinstance(answers, list) and len(answers) == 24
    assert len(server.paid) == 24 and max(server.paid.values()) == 1


def test_every_part_of_a_request_is_part_of_its_key() -> None:
    base = Request("summarizer", (Message("user", "a", b"p"),), SCHEMA, 0.0, 10, 1)
    others = [
        replace(base, task="refiner"),
        replace(base, messages=(Message("user", "b", b"p"),)),
        replace(base, messages=(Message("user", "a", b"q"),)),
        replace(base, messages=(Message("user", "a"),)),
        replace(base, messages=(Message("system", "a", b"p"),)),
        replace(base, messages=(Message("user", "a", b"p"), Message("user", ""))),
        replace(base, schema={"type": "object"}),
        replace(base, temperature=0.1),
        replace(base, max_tokens=11),
        replace(base, seed=2),
    ]
    keys = {r.key("model") for r in [base, *others]} | {base.key("another")}
    assert len(keys) == len(others) + 2
    assert base.key("model") == replace(base).key("model")


def test_the_cache_gives_back_what_it_took(tmp_path: Path) -> None:
    cache = ResponseCache(tmp_path / "deep" / "replies")
    reply = Reply('{"text": "\u00e9\x00"}', True, Usage(3, 4))
    cache.put(b"k", reply)
    cache.close()
    again = ResponseCache(tmp_path / "deep" / "replies")
    assert again.get(b"k") == reply and again.get(b"other") is None
    again.close()


POISON = [
    {"text": '{"text": "half \ud800"}', "cut": False, "tokens": [3, 4]},
    {"text": "{}", "cut": False, "tokens": [float("inf"), 4]},
    {"text": "{}", "cut": False, "tokens": [-3, 4]},
    {"text": "{}", "cut": False, "tokens": [3]},
    {"text": 7, "cut": False, "tokens": [3, 4]},
    {"text": "{}", "cut": "no", "tokens": [3, 4]},
    {"answer": "{}"},
    ["{}"],
]


@pytest.mark.parametrize("poison", POISON, ids=range(len(POISON)))
def test_a_poisoned_entry_of_the_cache_is_dropped_and_asked_again(tmp_path: Path, poison: object) -> None:
    with Cache(tmp_path, disk=JSONDisk) as folder:
        folder.set(b"k".hex(), poison)
    cache = ResponseCache(tmp_path)
    assert cache.get(b"k") is None
    cache.put(b"k", Reply("{}", False, Usage(3, 4)))
    assert cache.get(b"k") == Reply("{}", False, Usage(3, 4))
    cache.close()


@pytest.mark.parametrize("raw", [b"no zlib", zlib.compress(b"[" * 500_000)], ids=["bytes", "deep"])
def test_a_damaged_entry_of_the_cache_is_dropped(tmp_path: Path, raw: bytes) -> None:
    with Cache(tmp_path, disk=JSONDisk) as folder:
        folder.set(b"k".hex(), {})
        with folder.transact():
            folder._sql("UPDATE Cache SET value = ?", (raw,))
    cache = ResponseCache(tmp_path)
    assert cache.get(b"k") is None
    cache.close()


def test_written_rules_answer_behind_the_same_protocol(llm_params: Make) -> None:
    params = llm_params(backend="offline")
    rules = {"echo": lambda data: {"text": data["word"]}}
    model = open_model(params, rules, "echo-1")
    assert isinstance(model, OfflineModel) and "offline" in model.identity

    async def go() -> tuple[Answer, Answer]:
        session = ChatSession(model, params, None)
        known = await session.ask("echo", (Message("user", '{"word": "red"}'),), SCHEMA)
        unknown = await session.ask("sing", (Message("user", "{}"),), SCHEMA)
        return known, unknown

    known, unknown = asyncio.run(go())
    assert known.value == {"text": "red"}
    assert unknown.value is None and "sing" in unknown.reason


def test_few_items_are_held_at_a_time() -> None:
    held = most = 0

    async def work(item: int) -> int:
        nonlocal held, most
        held += 1
        most = max(most, held)
        await asyncio.sleep(0.001)
        held -= 1
        return item

    async def go() -> list[int]:
        return [r async for r in in_order(work, iter(range(300)), 2)]

    assert asyncio.run(go()) == list(range(300))
    assert most <= 8


def test_too_many_failures_end_the_stage_with_a_sentence(llm_params: Make) -> None:
    check_failures(10, 100, llm_params(), "")
    with pytest.raises(TooManyFailuresError, match=r"11 of 100 .*max_failed_fraction=0.1.*P7: cut"):
        check_failures(11, 100, llm_params(), "P7: cut")


def test_a_backend_without_its_block_is_refused(llm_params: Make) -> None:
    values = llm_params().model_dump(mode="json") | {"backend": "local"}
    with pytest.raises(ConfigurationError, match="'local' must be filled in"):
        validate(LLMParams, values, "llm")
