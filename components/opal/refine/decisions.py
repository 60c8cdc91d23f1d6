"""What judges decide about a listing: keep, normalise or drop, never add (MACE, arXiv 2508.10116)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import pyarrow as pa

from components.catalog.format.attributes import facts, of_facts
from components.evidence.listing import SellerListing

Verb = Literal["keep", "normalise", "drop"]

DECISIONS = pa.schema(
    [
        ("product_id", pa.string()),
        ("field", pa.string()),  # attributes or title
        ("name", pa.string()),  # of the attribute; in a title the place of the word, from 0
        ("value", pa.string()),
        ("decision", pa.string()),  # keep, normalise or drop
        ("new_value", pa.string()),  # empty when dropped
        ("judge", pa.string()),
        ("reason", pa.string()),
        ("support", pa.float32()),  # probability of being right; null where no judge measured one
    ]
)


@dataclass(frozen=True)
class Decision:
    """One decision about one attribute value or one word of the title."""

    field: Literal["attributes", "title"]
    name: str
    value: str
    decision: Verb
    new_value: str
    judge: str
    reason: str
    support: float | None = None


def kept(name: str, value: str, judge: str, reason: str, support: float | None = None) -> Decision:
    """A decision about an attribute value that changes nothing."""
    return Decision("attributes", name, value, "keep", value, judge, reason, support)


Key = tuple[str, str, str]  # of a decision: field, name, and the seller's value of an attribute


class Judge(Protocol):
    """Looks at listings and decides about some of their values and words.

    What a judge says nothing about stays as it is, and a judge may only speak of what the listing has.
    """

    def judge(self, listings: Sequence[SellerListing]) -> list[list[Decision]]:
        """For each listing its decisions, in any order."""
        ...


@dataclass(frozen=True)
class Refined:
    """A listing after all judges: what is left of it, and every decision that led there."""

    listing: SellerListing
    decisions: tuple[Decision, ...]


def applied(listing: SellerListing, decisions: Sequence[Decision]) -> SellerListing:
    """The listing after ``decisions``; those about values it has not are ignored: nothing is added."""
    about = {(d.name, d.value): d for d in decisions if d.field == "attributes"}
    stated, support = [], dict(listing.support)
    for name, value in facts(listing.attributes):
        decision = about.get((name, value))
        if decision is None:
            stated.append((name, value))
            continue
        if decision.decision != "drop":
            stated.append((name, decision.new_value))
        if decision.support is not None:
            support[name, decision.new_value or value] = decision.support
    words = [d.new_value for d in decisions if d.field == "title" and d.decision != "drop"]
    about_title = any(d.field == "title" for d in decisions)
    title = " ".join(words) if about_title else listing.title
    return replace(listing, attributes=of_facts(stated), title=title, support=support)


def _joined(before: Decision | None, now: Decision) -> Decision:
    """One decision out of two judges' about the same value: the one that changed it names the reason."""
    if before is None:
        return now
    support = now.support if now.support is not None else before.support
    if now.decision == "keep" and before.decision != "keep":
        return replace(before, support=support)
    return replace(now, value=before.value, support=support)


def _about(found: Mapping[Key, Decision], now: Decision) -> list[Key]:
    """The seller's values, or the word of the title, that a decision is about: what was made its value."""
    if now.field == "title":
        return [(now.field, now.name, "")]
    made = [k for k, d in found.items() if k[:2] == (now.field, now.name) and d.new_value == now.value]
    return made or [(now.field, now.name, now.value)]


def refine(listings: Sequence[SellerListing], judges: Sequence[Judge]) -> list[Refined]:
    """Ask the judges one after the other; each sees what the ones before it left."""
    current = list(listings)
    found: list[dict[Key, Decision]] = [{} for _ in listings]
    for judge in judges:
        for i, decisions in enumerate(judge.judge(current)):
            before = dict(found[i])  # a judge speaks of what those before it left
            for decision in decisions:
                for key in _about(before, decision):
                    found[i][key] = _joined(found[i].get(key), decision)
            current[i] = applied(current[i], decisions)
    return [Refined(listing, tuple(f.values())) for listing, f in zip(current, found, strict=True)]


def decision_table(refined: Sequence[Refined]) -> pa.Table:
    """The decisions of some listings as rows of ``DECISIONS``."""
    rows = [{"product_id": r.listing.product_id, **vars(d)} for r in refined for d in r.decisions]
    return pa.Table.from_pylist(rows, schema=DECISIONS)
