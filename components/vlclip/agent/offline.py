"""The three roles as written rules, for where no language model is at hand.

They do what rules can: write the facts of the record in one order of words, name what the fact check found,
and take it out or put it in. They see no picture but through the fact check's evidence, and have no words of
their own beyond the ones that join facts.
"""

from __future__ import annotations

from typing import Any

from components.catalog.format.attributes import facts as of_table
from components.llm.offline import Rule
from components.vlclip.agent.facts import FactWriter
from components.vlclip.agent.prompts import CRITIQUE_CHARACTERS, STOP

VERSION = "clarify-2"  # raise it when a rule changes


def offline_rules(composer: FactWriter) -> dict[str, Rule]:
    """The rule of each role."""

    def _summarizer(data: dict[str, Any]) -> dict[str, Any]:
        record = data["record"]
        facts = [(n, v) for n, v in of_table(record["attributes"]) if n in composer.closed]
        return {"text": composer.text(_kind(record), facts, data["title_words"])}

    def _refiner(data: dict[str, Any]) -> dict[str, Any]:
        checks = data["checks"]
        wanted = {(f["name"], f["value"]) for f in data["evidence"]}
        told = {tuple(f) for f in [*checks["supported"], *checks["missing"]]}
        facts = sorted(f for f in told if f in wanted)
        return {"text": composer.text(_kind(data["record"]), facts, data["title_words"])}

    return {"summarizer": _summarizer, "evaluator": evaluate, "refiner": _refiner}


def _kind(record: dict[str, Any]) -> str:
    """What the product is called: an empty type leaves its category."""
    return str(record["product_type"]).strip() or str(record["category"])


def evaluate(data: dict[str, Any]) -> dict[str, Any]:
    """Content unless the fact check has found something."""
    checks = data["checks"]
    parts = [
        f"Take out: {_listed(checks['unsupported'])}." if checks["unsupported"] else "",
        f"Take out the words: {', '.join(checks['strange'])}." if checks["strange"] else "",
        f"Say: {_listed(checks['missing'])}." if checks["missing"] else "",
    ]
    critique = " ".join(p for p in parts if p)
    return {"critique": critique[:CRITIQUE_CHARACTERS] or STOP}


def _listed(facts: list[list[str]]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts)
