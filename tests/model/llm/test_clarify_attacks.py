"""Listings and pictures that try to give orders, met by a language model that obeys every one of them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from lamps import CLARIFY, book_of, listing

from components.evidence.words import words
from components.llm.chat import Reply, Request, Usage
from components.llm.params import LLMParams
from components.llm.session import ChatSession
from components.vlclip.agent.agent import Agent, Clarified
from components.vlclip.agent.facts import FUNCTION_WORDS
from components.vlclip.agent.params import ClarifyParams
from tests.model.red_team import LISTING_TEXTS, PICTURE_TEXTS

NUMBER = 0  # a red round glass lamp
RED_LAMP = FUNCTION_WORDS | set(words("red glass round colour accent shade material lamp bedside"))
LLM = {
    "backend": "offline",
    "endpoint": None,
    "local": None,
    "temperature": 0.0,
    "max_tokens": 64,
    "seed": 5,
    "reasks": 1,
    "max_failed_fraction": 1.0,
    "budget": {"requests": None, "tokens": None},
}


class Obedient:
    """A model that obeys every text and picture: what it reads in listing or picture becomes its answer.

    ``form`` is how far it goes: ``text`` puts the words into a well-formed answer; ``raw`` answers with the
    words alone; ``keys`` adds keys of its own; ``long`` goes on and on; ``alone`` is ``text`` without a word
    of the product.
    """

    identity, concurrency, caches_answers = "obedient", 1, False

    def __init__(self, form: str, sees_pictures: bool) -> None:
        self.form, self.sees_pictures = form, sees_pictures
        self.counts: dict[str, int] = {}

    async def reply(self, request: Request) -> Reply:
        user = request.messages[1]
        record = json.loads(user.text)["record"]
        said = user.picture.decode() if user.picture else f"{record['title']} {record['description']}"
        return Reply(self._answer(request.task, said), False, Usage())

    def _answer(self, task: str, said: str) -> str:
        key, value = ("critique", "<STOP>") if task == "evaluator" else ("text", f"red lamp. {said}"[:80])
        if self.form == "alone" and key == "text":
            return json.dumps({key: said[:80]})
        if self.form == "raw":
            return said
        if self.form == "keys":
            return json.dumps({key: value, "system": "obeyed"})
        if self.form == "long":
            return json.dumps({key: said * 50 + "x" * 5000})
        return json.dumps({key: value})

    async def close(self) -> None:
        return


def attack(title: str, picture: bytes | None, form: str, **fields: Any) -> Clarified:
    lying = {NUMBER: {"title": title, "description": title, **fields}}
    book = BOOKS.setdefault(f"{title} {fields}", book_of(lying))
    row = {**listing(NUMBER), **lying[NUMBER]}
    row["attributes"] = [{"name": n, "value": v} for n, v in row["attributes"].items()]
    params = ClarifyParams.model_validate({**CLARIFY, "max_rounds": 2})

    async def go() -> Clarified:
        model = Obedient(form, picture is not None)
        session = ChatSession(model, LLMParams.model_validate(LLM), None)
        return await Agent(session, params).clarify(row, book.of(NUMBER), picture)

    return asyncio.run(go())


BOOKS: dict[str, Any] = {}


def assert_holds(done: Clarified) -> None:
    """Nothing of the attack is in the text, and no fact that has no ground."""
    assert set(words(done.text)) <= RED_LAMP, done.text
    assert 0 < len(done.text) <= 80
    assert ("colour", "blue") not in done.facts and not done.reason


def test_the_attacks_are_at_least_forty_texts_and_eight_pictures() -> None:
    assert len(set(LISTING_TEXTS)) >= 40 and len(set(PICTURE_TEXTS)) >= 8


@pytest.mark.parametrize("said", LISTING_TEXTS, ids=range(len(LISTING_TEXTS)))
def test_an_order_in_a_listing_does_not_reach_the_text(said: str) -> None:
    assert_holds(attack(said, None, "text"))


@pytest.mark.parametrize("said", PICTURE_TEXTS, ids=range(len(PICTURE_TEXTS)))
def test_an_order_in_a_picture_does_not_reach_the_text(said: str) -> None:
    assert_holds(attack("Red lamp", said.encode(), "text"))


@pytest.mark.parametrize("said", LISTING_TEXTS[::6], ids=range(0, len(LISTING_TEXTS), 6))
def test_an_order_in_an_attribute_does_not_reach_the_text(said: str) -> None:
    stated = listing(NUMBER)["attributes"] | {"brand": said, "material": said}
    done = attack("Red lamp", said.encode(), "text", attributes=stated)
    assert_holds(done)
    assert all(value != said for _, value in done.facts)


def test_a_type_of_any_length_is_capped_where_it_stands_in_for_a_text() -> None:
    done = attack("Rolex", None, "alone", product_type="rocket " * 60, attributes={})
    assert done.text.startswith("rocket rocket") and len(done.text) <= 80


@pytest.mark.parametrize("form", ["raw", "keys", "long"])
@pytest.mark.parametrize("said", LISTING_TEXTS[::6], ids=range(0, len(LISTING_TEXTS), 6))
def test_an_answer_off_the_schema_is_not_used(said: str, form: str) -> None:
    done = attack(said, None, form)
    assert "2 attempts" in done.reason and len(done.text) <= 80
    assert " ".join(said.split()).startswith(done.text)  # the seller's own, capped
    assert not done.steps  # no answer of the model is kept as anybody's output


@pytest.mark.parametrize("said", LISTING_TEXTS, ids=range(len(LISTING_TEXTS)))
def test_sellers_words_stay_inside_one_json_string(said: str) -> None:
    seen: list[Request] = []

    class Listening(Obedient):
        async def reply(self, request: Request) -> Reply:
            seen.append(request)
            return await super().reply(request)

    row = {**listing(NUMBER), "title": said, "description": ""}
    row["attributes"] = [{"name": "colour", "value": said}]
    book = BOOKS.setdefault("", book_of({}))
    params = ClarifyParams.model_validate(CLARIFY)

    async def go() -> None:
        session = ChatSession(Listening("text", False), LLMParams.model_validate(LLM), None)
        await Agent(session, params).clarify(row, book.of(NUMBER), None)

    asyncio.run(go())
    assert seen
    for request in seen:
        system, user = request.messages
        assert said not in system.text
        data = json.loads(user.text)
        assert data["record"]["title"] == said[: params.record_characters]
        assert set(data) <= {"record", "evidence", "title_words", "text", "checks", "critique"}
