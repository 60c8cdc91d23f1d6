"""Asking a chat model for JSON: cached answers, budget, bounded re-asks, and the count of it all."""

from __future__ import annotations

import asyncio
import json
import re
import time
import zlib
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from diskcache import Cache, JSONDisk

from components.llm.chat import ChatModel, Message, Reply, Request, Usage, counted_tokens
from components.llm.errors import BudgetSpentError, EndpointError, ReplyError, TooManyFailuresError
from components.llm.params import Budget, LLMParams
from components.stage.record import Exchange

T = TypeVar("T")
R = TypeVar("R")
QUOTED = 400  # characters of a bad answer that are shown to the model again
WINDOW = 4  # items taken up per request under way, so that a slow one does not delay the others
CHARACTERS_PER_TOKEN = 3  # an estimate on the safe side, for what is under way and not yet counted
PICTURE_TOKENS = 1024  # likewise
# Models put JSON into a Markdown fence even when they are asked not to.
FENCE = re.compile(r"^\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*$", re.DOTALL)


class SchemaCheck:
    """Checks answers against one JSON Schema (2020-12)."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        from jsonschema import Draft202012Validator

        self._validator = Draft202012Validator(dict(schema))

    def problem(self, value: object) -> str:
        """What breaks the schema first; empty when nothing does. Never quotes the answer at length."""
        error = next(iter(self._validator.iter_errors(value)), None)
        if error is None:
            return ""
        where = ".".join(map(str, error.absolute_path)) or "the answer"
        return f"{where}: {' '.join(error.message.split())[-120:]}"


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is named twice")
    return found


def parse_answer(text: str, check: SchemaCheck) -> tuple[dict[str, Any] | None, str]:
    """The object that ``text`` holds, and why there is none.

    One Markdown fence around the whole is taken off. Nothing is repaired beyond that: a repaired
    answer is one that the model did not give.
    """
    fenced = FENCE.match(text)
    try:
        value = json.loads(fenced.group(1) if fenced else text, object_pairs_hook=_without_repeats)
        # halves of characters and numbers without end can be written as JSON, and stored nowhere
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        if not isinstance(value, dict):
            return None, "not a JSON object"
        problem = check.problem(value)
    except (ValueError, RecursionError) as error:
        return None, f"not JSON ({str(error)[:80]})"
    return (None, problem) if problem else (value, "")


@dataclass(frozen=True)
class Answer:
    """A JSON object that obeys the schema, or the reason why there is none (``value`` is None)."""

    value: dict[str, Any] | None
    reason: str
    attempts: int
    usage: Usage = field(default_factory=Usage, compare=False)  # of all attempts


class Asks(Protocol):
    """Who can be asked for JSON: a session, or one that is watched."""

    async def ask(self, task: str, messages: tuple[Message, ...], schema: Mapping[str, Any]) -> Answer:
        """See ``ChatSession``."""


@dataclass(frozen=True)
class Watched:
    """A session whose questions about one product are noted for the record."""

    session: Asks
    product_id: str
    exchanges: list[Exchange]

    async def ask(self, task: str, messages: tuple[Message, ...], schema: Mapping[str, Any]) -> Answer:
        """Ask, and note how long the answer took and what it cost."""
        started, clock = time.time(), time.perf_counter()
        answer = await self.session.ask(task, messages, schema)
        note = Exchange(
            product_id=self.product_id,
            task=task,
            started=started,
            seconds=time.perf_counter() - clock,
            prompt_tokens=answer.usage.prompt_tokens,
            completion_tokens=answer.usage.completion_tokens,
            attempts=answer.attempts,
        )
        self.exchanges.append(note)
        return answer


class Spending:
    """Counts answers, cached ones included, and requests under way."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.requests = 0
        self.usage = Usage()
        self._under_way: list[int] = []  # tokens of each request

    def count(self, usage: Usage) -> None:
        """Add what one reply cost."""
        self.requests += 1
        self.usage += usage

    def reserve(self, request: Request) -> int:
        """Set aside the tokens that a request may cost; give the result to ``settle``.

        Raises:
            BudgetSpentError: it might go over the budget. What is set aside counts as spent, so the budget
                holds at any concurrency.
        """
        characters = sum(len(m.text) for m in request.messages)
        pictures = sum(m.picture is not None for m in request.messages)
        tokens = request.max_tokens + characters // CHARACTERS_PER_TOKEN + PICTURE_TOKENS * pictures
        requests = self.requests + len(self._under_way) + 1
        total = self.usage.total + sum(self._under_way) + tokens
        for key, spent in (("requests", requests), ("tokens", total)):
            most = getattr(self._budget, key)
            if most is not None and spent > most:
                raise BudgetSpentError(
                    f"The budget of {most:,} {key} is spent; every answer so far is cached. Raise "
                    f"llm.budget.{key} and run again: the work goes on where it stopped."
                )
        self._under_way.append(tokens)
        return tokens

    def settle(self, reserved: int, usage: Usage | None) -> None:
        """A request that had so many tokens reserved came back with ``usage``, or without an answer."""
        self._under_way.remove(reserved)
        if usage is not None:
            self.count(usage)


class ResponseCache:
    """Replies by request key, as JSON in a folder; a kill loses at most those that have not arrived yet.

    Deleting the folder costs money and time, and changes no result as long as the model repeats its answers.
    """

    def __init__(self, folder: Path) -> None:
        # JSON, because diskcache's default form would run code that somebody has put into the folder
        self._cache = Cache(folder, disk=JSONDisk, eviction_policy="none", size_limit=2**62)

    def get(self, key: bytes) -> Reply | None:
        """The cached reply, if there is one; an entry that cannot be used is dropped, and asked for again."""
        try:
            kept = self._cache.get(key.hex())
            return None if kept is None else _reply(kept)
        except (ValueError, TypeError, KeyError, RecursionError, zlib.error, ReplyError):
            self._cache.delete(key.hex())
            return None

    def put(self, key: bytes, reply: Reply) -> None:
        """Cache a reply; it is on disk when this returns."""
        tokens = (reply.usage.prompt_tokens, reply.usage.completion_tokens)
        self._cache.set(key.hex(), {"text": reply.text, "cut": reply.cut, "tokens": tokens})

    def close(self) -> None:
        """Close the files."""
        self._cache.close()


def _reply(kept: dict[str, Any]) -> Reply:
    """The reply in a cached entry; anything may stand in a folder that other versions have written to."""
    text, cut, (prompt, completion) = kept["text"], kept["cut"], kept["tokens"]
    if not isinstance(cut, bool):
        raise TypeError("'cut' is true or false")
    str.encode(text)  # of a text only; fails for half a character, which no file of a stage can hold
    return Reply(text, cut, Usage(counted_tokens("prompt", prompt), counted_tokens("completion", completion)))


class ChatSession:
    """One stage's conversation with one model; close it when done.

    Args:
        cache: the folder of cached answers; None caches nothing.
    """

    def __init__(self, model: ChatModel, params: LLMParams, cache: Path | None) -> None:
        self.model, self.params = model, params
        self.spending = Spending(params.budget)
        self.counts: dict[str, int] = Counter()
        self._cache = ResponseCache(cache) if cache is not None and model.caches_answers else None
        self._checks: dict[int, tuple[Mapping[str, Any], SchemaCheck]] = {}
        self._pending: dict[bytes, asyncio.Future[Reply]] = {}
        self._slots = asyncio.Semaphore(model.concurrency)
        self._stop: BudgetSpentError | EndpointError | None = None

    async def close(self) -> None:
        """Close the chat model and the cache."""
        await self.model.close()
        if self._cache is not None:
            self._cache.close()

    async def ask(self, task: str, messages: tuple[Message, ...], schema: Mapping[str, Any]) -> Answer:
        """Ask, and ask again with the problem named, until the answer obeys ``schema`` or ``reasks`` is up.

        Raises:
            BudgetSpentError, EndpointError: nothing more can be asked in this session.
        """
        params, check, turns, problem, usage = self.params, self._check(schema), messages, "", Usage()
        for attempt in range(params.reasks + 1):
            seed = params.seed + attempt
            request = Request(task, turns, schema, params.temperature, params.max_tokens, seed)
            try:
                reply = await self._reply(request)
            except ReplyError as error:
                self.counts["unanswered"] += 1
                return Answer(None, str(error), attempt + 1, usage)
            usage += reply.usage
            value, problem = (None, "cut at max_tokens") if reply.cut else parse_answer(reply.text, check)
            if value is not None:
                return Answer(value, "", attempt + 1, usage)
            self.counts["cut" if reply.cut else "malformed"] += 1
            turns = (*messages, *_again(reply, problem))
        reason = f"no usable answer in {params.reasks + 1} attempts: {problem}"
        return Answer(None, reason, attempt + 1, usage)

    def figures(self) -> dict[str, float]:
        """Counts for the record."""
        usage = self.spending.usage
        return {
            "requests": float(self.spending.requests),
            "prompt_tokens": float(usage.prompt_tokens),
            "completion_tokens": float(usage.completion_tokens),
            **{name: float(self.counts[name]) for name in ("cached", "malformed", "cut", "unanswered")},
            **{f"retries.{cause}": float(n) for cause, n in sorted(self.model.counts.items())},
        }

    def _check(self, schema: Mapping[str, Any]) -> SchemaCheck:
        # keyed by identity: a stage asks with a handful of schemas, thousands of times each
        known = self._checks.get(id(schema))
        if known is None or known[0] is not schema:
            known = self._checks[id(schema)] = (schema, SchemaCheck(schema))
        return known[1]

    async def _reply(self, request: Request) -> Reply:
        if self._cache is None:
            return await self._paid(request)
        key = request.key(self.model.identity)
        if (waiting := self._pending.get(key)) is not None:  # the same request is under way: pay once
            return await asyncio.shield(waiting)
        if (known := self._cache.get(key)) is not None:
            self.counts["cached"] += 1
            self.spending.count(known.usage)
            return known
        return await self._paid_once(key, request)

    async def _paid_once(self, key: bytes, request: Request) -> Reply:
        future = self._pending[key] = asyncio.get_running_loop().create_future()
        try:
            reply = await self._paid(request)
        except BaseException as error:
            future.set_exception(error if isinstance(error, Exception) else ReplyError("interrupted"))
            future.exception()  # nobody may be waiting for it
            raise
        else:
            assert self._cache is not None
            self._cache.put(key, reply)
            future.set_result(reply)
            return reply
        finally:
            del self._pending[key]

    async def _paid(self, request: Request) -> Reply:
        async with self._slots:
            if self._stop is not None:
                raise self._stop
            try:
                reserved = self.spending.reserve(request)
            except BudgetSpentError as error:
                self._stop = error
                raise
            reply = None
            try:
                reply = await self.model.reply(request)
            except EndpointError as error:
                self._stop = error
                raise
            finally:
                self.spending.settle(reserved, None if reply is None else reply.usage)
            return reply


def _again(reply: Reply, problem: str) -> tuple[Message, Message]:
    complaint = (
        f"That answer cannot be used: {problem}. Answer again, with one JSON object that obeys the schema "
        "and nothing else."
    )
    return Message("assistant", reply.text[:QUOTED]), Message("user", complaint)


async def in_order(
    work: Callable[[T], Awaitable[R]], items: Iterable[T], concurrency: int
) -> AsyncIterator[R]:
    """Results of ``work`` on ``items`` in their order, many at once; few items are held at any time.

    The first error ends it, after the work under way has come to its own end: an answer that is paid for is
    still received and cached.
    """
    running: deque[asyncio.Task[R]] = deque()

    async def _one(item: T) -> R:
        return await work(item)

    try:
        for item in items:
            running.append(asyncio.create_task(_one(item)))
            if len(running) >= WINDOW * concurrency:
                yield await running.popleft()
        while running:
            yield await running.popleft()
    except (asyncio.CancelledError, GeneratorExit):  # the caller wants to stop now
        for task in running:
            task.cancel()
        raise
    finally:
        await asyncio.gather(*running, return_exceptions=True)


def check_failures(failed: int, total: int, params: LLMParams, example: str) -> None:
    """Let a stage through only when few enough of its items have failed.

    Raises:
        TooManyFailuresError: the share of failures is above ``max_failed_fraction``.
    """
    if total and failed / total > params.max_failed_fraction:
        raise TooManyFailuresError(
            f"{failed:,} of {total:,} items got no usable answer, more than llm.max_failed_fraction="
            f"{params.max_failed_fraction} (first: {example}); raise llm.max_tokens or llm.reasks, change "
            "llm.seed, or use a model that follows JSON Schemas."
        )
