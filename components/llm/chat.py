"""One protocol for chat models: messages with pictures in, JSON text out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from components.llm.errors import ReplyError

MOST_TOKENS = 1_000_000_000  # of one request; more than any model takes


@dataclass(frozen=True)
class Message:
    """One turn; ``picture`` holds an encoded JPEG, PNG or WebP."""

    role: Literal["system", "user", "assistant"]
    text: str
    picture: bytes | None = None


@dataclass(frozen=True)
class Request:
    """What a chat model is asked.

    Attributes:
        task: which role is to answer; written rules are chosen by it, language models ignore it.
        schema: the JSON Schema that the answer must obey.
        max_tokens: of the answer. seed: of sampling, where the model takes one.
    """

    task: str
    messages: tuple[Message, ...]
    schema: Mapping[str, Any]
    temperature: float
    max_tokens: int
    seed: int

    def key(self, model: str) -> bytes:
        """SHA-256 over everything that decides the answer: model, messages, pictures, parameters, schema."""
        turns = [
            [m.role, m.text, "" if m.picture is None else hashlib.sha256(m.picture).hexdigest()]
            for m in self.messages
        ]
        parts = [model, self.task, turns, self.schema, self.temperature, self.max_tokens, self.seed]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).digest()


@dataclass(frozen=True)
class Usage:
    """Tokens of prompts and answers, as the model counts them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def total(self) -> int:
        """Tokens of both."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens, self.completion_tokens + other.completion_tokens
        )


@dataclass(frozen=True)
class Reply:
    """What came back; ``cut`` says that the answer ran into ``max_tokens``."""

    text: str
    cut: bool
    usage: Usage


def counted_tokens(name: str, value: object) -> int:
    """A count of tokens that somebody else states; None counts as 0.

    Raises:
        ReplyError: it is no count that an answer can have. One below zero would pay into the budget.
    """
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_TOKENS:
        raise ReplyError(f"{name} is {str(value)[:20]}, which is no count of tokens")
    return int(value)


class ChatModel(Protocol):
    """An endpoint, a local model, or written rules."""

    identity: str  # part of every cache key: all that decides an answer besides the request
    concurrency: int  # requests that may be under way at once
    sees_pictures: bool
    caches_answers: bool  # whether an answer is worth caching; not where making it again costs as little
    counts: dict[str, int]  # what happened on the way: retries by cause

    async def reply(self, request: Request) -> Reply:
        """Answer one request.

        Raises:
            ReplyError: this request cannot be answered; others may.
            EndpointError: none can.
        """

    async def close(self) -> None:
        """Free connections and memory."""
