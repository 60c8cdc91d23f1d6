"""The text agent: Summarizer, then Evaluator and Refiner in turn until ``<STOP>`` (VL-CLIP)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.catalog.format.attributes import Value
from components.catalog.format.attributes import facts as of_table
from components.evidence.mentions import Fact
from components.llm.session import Asks
from components.vlclip.agent.facts import FactCheck, ProductFacts, capped, seller_facts
from components.vlclip.agent.params import ClarifyParams
from components.vlclip.agent.prompts import CRITIQUE_CHARACTERS, ROLES, STOP, form, instructions, turn


@dataclass(frozen=True)
class Step:
    """One answer of one role; round 0 is the Summarizer's."""

    round: int
    role: str
    output: str


@dataclass(frozen=True)
class Clarified:
    """What became of one product's text.

    Attributes:
        facts: what the text states and the check supports. rounds: Evaluator's judgements.
        stopped: whether the Evaluator was content. facts_removed: statements that some draft made and the
            check took out. reason: why the seller's text was kept; empty when it was not.
    """

    text: str
    facts: tuple[Fact, ...]
    rounds: int
    stopped: bool
    facts_removed: int
    reason: str
    steps: tuple[Step, ...]


class _NoAnswerError(Exception):
    """A role gave no usable answer; the message says why."""


class Agent:
    """Writes texts through one chat session."""

    def __init__(self, session: Asks, params: ClarifyParams) -> None:
        self._session, self._params = session, params
        most = {"text": params.max_characters, "critique": CRITIQUE_CHARACTERS}
        self._forms = {role: (key, form(key, most[key])) for role, (key, _) in ROLES.items()}
        # what each role is told
        self.prompts = {role: instructions(told, key, most["text"]) for role, (key, told) in ROLES.items()}

    async def clarify(self, row: Mapping[str, Any], facts: ProductFacts, picture: bytes | None) -> Clarified:
        """The text of one product.

        Raises:
            BudgetSpentError, EndpointError: nothing more can be asked.
        """
        steps: list[Step] = []
        try:
            return await self._written(self._data(row, facts), facts, picture, steps)
        except _NoAnswerError as error:
            return self._seller(row, facts, steps, str(error))

    async def _written(
        self, data: dict[str, Any], facts: ProductFacts, picture: bytes | None, steps: list[Step]
    ) -> Clarified:
        most, removed = self._params.max_characters, set[object]()
        text, stopped, rounds = await self._said("summarizer", data, picture), False, 0
        steps.append(Step(0, "summarizer", text))
        for rounds in range(1, self._params.max_rounds + 1):
            check = facts.check(text, most)
            removed.update([*check.unsupported, *check.strange])
            data = data | {"text": text, "checks": _findings(check)}
            critique = await self._said("evaluator", data, picture)
            steps.append(Step(rounds, "evaluator", critique))
            stopped = critique.strip() == STOP
            if stopped:
                break
            text = await self._said("refiner", data | {"critique": critique}, picture)
            steps.append(Step(rounds, "refiner", text))
        # Whatever the roles agreed on, only what the check supports leaves this room.
        final = facts.check(text, most)
        removed.update([*final.unsupported, *final.strange])
        clean = final.clean or capped(facts.lexicon.product_type, most)
        kept = facts.check(clean, most).supported
        return Clarified(clean, kept, rounds, stopped, len(removed), "", tuple(steps))

    async def _said(self, role: str, data: Mapping[str, Any], picture: bytes | None) -> str:
        key, schema = self._forms[role]
        answer = await self._session.ask(role, turn(self.prompts[role], data, picture), schema)
        if answer.value is None:
            raise _NoAnswerError(answer.reason)
        return str(answer.value[key])

    def _data(self, row: Mapping[str, Any], facts: ProductFacts) -> dict[str, Any]:
        most = self._params.record_characters
        record = {
            "category": row["category"],
            "product_type": row["product_type"],
            "title": row["title"][:most],
            "description": row["description"][:most],
            "attributes": {name[:most]: _cut(value, most) for name, value in seller_facts(row).items()},
        }
        evidence = [
            {"name": f.name, "value": f.value, "support": round(f.support, 3), "stated": f.stated}
            for f in facts.best
        ]
        return {"record": record, "evidence": evidence, "title_words": list(facts.title_words)}

    def _seller(
        self, row: Mapping[str, Any], facts: ProductFacts, steps: list[Step], reason: str
    ) -> Clarified:
        text = " ".join(str(row["title"]).split()) or facts.lexicon.product_type
        stated = tuple(fact for fact in of_table(seller_facts(row)) if fact in facts.support)
        judged = sum(s.role == "evaluator" for s in steps)
        capped_text = capped(text, self._params.max_characters)
        return Clarified(capped_text, stated, judged, False, 0, reason, tuple(steps))


def _cut(value: Value, most: int) -> str | list[str]:
    return value[:most] if isinstance(value, str) else [text[:most] for text in value]


def _findings(check: FactCheck) -> dict[str, Any]:
    return {
        "supported": [list(f) for f in check.supported],
        "unsupported": [list(f) for f in check.unsupported],
        "strange": list(check.strange[:20]),
        "missing": [list(f) for f in check.missing],
    }
