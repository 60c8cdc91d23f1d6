"""Which text stands for a product: the caption of a training step, a pure function of (seed, epoch, step)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from components.encoder.model.params import CaptionShares

QUERY = "query"  # the kind of fact that says that a product answers a query
SUBSETS = 4  # random sets of attribute values that stand for a product, besides its title


def attribute_phrase(name: str, value: str, names: Collection[str]) -> str:
    """How a value is said: itself, or with its qualifier where the plain attribute exists beside it.

    ``colour: blue`` is "blue"; ``accent_colour: blue`` is "accent blue", for "blue" alone would say another
    thing.
    """
    qualifier, sign, plain = name.rpartition("_")
    return f"{qualifier.replace('_', ' ')} {value}" if sign and plain in names else value


def attribute_text(attributes: Sequence[dict[str, str]]) -> str:
    """Attribute values in one line: ``"red, striped, cotton"``."""
    return ", ".join(a["value"] for a in attributes if a["value"])


def caption(row: dict[str, Any], kind: str) -> str:
    """The caption of one kind; an empty one falls back to the title, then to the product type."""
    title, values = row["title"].strip(), attribute_text(row["attributes"])
    texts = {
        "product_type": row["product_type"],
        "title": title,
        "title_attributes": ". ".join(t for t in (title, values) if t),
        "attributes": f"{values} {row['product_type']}".strip(),
        "description": row["description"].strip(),
    }
    return texts[kind] or title or str(row["product_type"])


def attribute_subsets(row: dict[str, Any], closed: Collection[str]) -> list[list[dict[str, str]]]:
    """Random non-empty sets of the attributes with a closed list of values, a pure function of the id.

    Free text and numbers (a brand, a volume) name nothing that many pictures share, so they stay out.

    One value alone is as likely as all of them, so that a prompt that names a single value is nothing new to
    the encoder.
    """
    known = [a for a in row["attributes"] if a["value"] and a["name"] in closed]
    if not known:
        return [[] for _ in range(SUBSETS)]
    rng = np.random.default_rng(list(row["product_id"].encode()))
    sizes = rng.integers(1, len(known) + 1, SUBSETS)
    return [[known[i] for i in rng.permutation(len(known))[:size]] for size in sizes]


Ints = npt.NDArray[np.int64]
Attributes = list[dict[str, str]]
Facts = list[tuple[str, str]]


def swapped_values(rows: Sequence[dict[str, Any]], subsets: Sequence[Attributes]) -> list[Attributes]:
    """Each set of attributes with one value changed: ``blue, striped`` becomes ``red, striped``.

    The other value is one that other products of the type have. A set stays empty where it was, or where
    no attribute of it has a second value in the type. A pure function of the ids.
    """
    values: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        for a in row["attributes"]:
            values.setdefault((row["product_type"], a["name"]), set()).add(a["value"])
    others = {key: sorted(v) for key, v in values.items()}
    return [_one_swapped(row, own, others) for row, own in zip(rows, subsets, strict=True)]


def _one_swapped(
    row: dict[str, Any], own: Attributes, values: Mapping[tuple[str, str], Sequence[str]]
) -> Attributes:
    choice = [(i, a, values[row["product_type"], a["name"]]) for i, a in enumerate(own)]
    choice = [c for c in choice if len(c[2]) > 1]
    if not choice:
        return []
    named = f"{row['product_id']} {' '.join(a['value'] for a in own)}"
    rng = np.random.default_rng(list(named.encode()))
    at, old, candidates = choice[rng.integers(len(choice))]
    value = [v for v in candidates if v != old["value"]][rng.integers(len(candidates) - 1)]
    return [*own[:at], {**old, "value": value}, *own[at + 1 :]]


def _facts(row: dict[str, Any], attributes: Attributes) -> Facts:
    return [("product_type", row["product_type"]), *((a["name"], a["value"]) for a in attributes)]


@dataclass(frozen=True)
class _Version:
    """One text of a kind per product, what it states, and the same with a value changed."""

    kind: str
    share: float
    texts: list[str]
    stated: list[Facts]
    swapped_texts: list[str] | None  # None where nothing is changed in any text
    swapped_stated: list[Facts]  # nothing where nothing could be changed


def _versions(
    rows: Sequence[dict[str, Any]], shares: CaptionShares, closed: Collection[str], swapped: bool
) -> Iterator[_Version]:
    nothing: list[Facts] = [[] for _ in rows]
    for kind, share in shares.model_dump(exclude={"queries"}).items():
        if not share:
            continue
        if kind != "attributes":
            texts = [caption(r, kind) for r in rows]
            stated = [_facts(r, []) for r in rows] if kind == "product_type" else nothing
            yield _Version(kind, share, texts, stated, None, nothing)
            continue
        for own in zip(*(attribute_subsets(r, closed) for r in rows), strict=True):
            texts = [_subset_text(r, a, closed) for r, a in zip(rows, own, strict=True)]
            stated = [_facts(r, a) for r, a in zip(rows, own, strict=True)]
            if not swapped:
                yield _Version(kind, share / SUBSETS, texts, stated, None, nothing)
                continue
            changed = swapped_values(rows, own)
            yield _Version(
                kind,
                share / SUBSETS,
                texts,
                stated,
                [_subset_text(r, a, closed) for r, a in zip(rows, changed, strict=True)],
                [_facts(r, a) if a else [] for r, a in zip(rows, changed, strict=True)],
            )


@dataclass(frozen=True)
class CaptionBatch:
    """One caption per product of a batch, as places in :attr:`Captions.texts`.

    Attributes:
        texts: ``[B]``.
        entailed: bool ``[B, B]``; ``[i, j]`` says that the caption of product j is true of product i as well,
            by what the sellers state, by a judgement, or because both have the same: "red shirt" of every red
            shirt. Such a pair is no negative.
        swapped: ``[S]`` captions of the batch with one attribute value changed: "red mug" for "blue mug".
        swapped_entailed: bool ``[B, S]``, likewise.
    """

    texts: Ints
    entailed: npt.NDArray[np.bool_]
    swapped: Ints
    swapped_entailed: npt.NDArray[np.bool_]


class Field(NamedTuple):
    """Captions of one kind.

    Attributes:
        share: of the kind among all. products: ``[N]`` places in the batch of those that
            have such a caption. captions: one for each of them.
    """

    share: float
    products: Ints
    captions: CaptionBatch


@dataclass(frozen=True)
class AnsweredQueries:
    """Queries that stand for the products that answer them.

    Attributes:
        ids, texts: of each query. answers: for each product, the places of the queries that it answers.
    """

    ids: list[str]
    texts: list[str]
    answers: list[list[int]]


class Captions:
    """Captions of every kind, what each one states, and the draw of one per product and step.

    Args:
        rows: products. shares: weights of the kinds.
        closed: names of the attributes with a closed list of values.
        swapped: whether to make captions with one value changed; without, a draw has none.
        queries: train queries as captions; None for none, whatever their share, which may be zero as well.

    Attributes:
        texts: every caption that can be drawn, each once.
    """

    def __init__(
        self,
        rows: Sequence[dict[str, Any]],
        shares: CaptionShares,
        closed: Collection[str],
        swapped: bool,
        queries: AnsweredQueries | None = None,
    ) -> None:
        self._fact_ids: dict[tuple[str, str], int] = {}
        self._places: dict[str, int] = {}
        versions = list(_versions(rows, shares, closed, swapped))
        weights = [v.share for v in versions]
        self._edges = np.cumsum(weights) / sum(weights)
        self._kinds = {
            kind: (getattr(shares, kind), np.array([i for i, v in enumerate(versions) if v.kind == kind]))
            for kind in dict.fromkeys(v.kind for v in versions)
        }
        queries = queries if shares.queries else None  # texts that are never drawn scale no head
        self._query_share = shares.queries / (shares.queries + sum(weights)) if queries is not None else 0.0
        # [versions, products]; int32 halves what a big catalogue keeps in memory
        self._texts = np.stack([self._numbered(v.texts) for v in versions])
        self._stated = self._padded([v.stated for v in versions])
        # only of the versions that have changed texts, and which of them a version's are
        changed = [self._numbered(v.swapped_texts) for v in versions if v.swapped_texts is not None]
        self._swapped = np.array(changed, dtype=np.int32).reshape(len(changed), len(rows))
        self._swapped_at = np.cumsum([v.swapped_texts is not None for v in versions]) - 1
        self._swapped_stated = self._padded([v.swapped_stated for v in versions])
        answers = queries.answers if queries is not None else [[] for _ in rows]
        ids = queries.ids if queries is not None else []
        self._query_texts = self._numbered(queries.texts if queries is not None else [])
        self._query_facts = np.array([self._fact((QUERY, i)) for i in ids], dtype=np.int32)
        self._answers = _ragged(answers)
        self._known = self._numbers(
            [
                [*_facts(r, r["attributes"]), *((QUERY, ids[q]) for q in own)]
                for r, own in zip(rows, answers, strict=True)
            ]
        )
        self.texts = list(self._places)

    def _numbered(self, texts: Sequence[str]) -> npt.NDArray[np.int32]:
        """The place of each text in :attr:`texts`."""
        return np.array([self._places.setdefault(t, len(self._places)) for t in texts], dtype=np.int32)

    def _fact(self, fact: tuple[str, str]) -> int:
        return self._fact_ids.setdefault(fact, len(self._fact_ids))

    def _padded(self, facts: Sequence[Sequence[Facts]]) -> npt.NDArray[np.int32]:
        """Facts of versions as numbers ``[versions, products, most facts]``, padded with -1."""
        found = [self._numbers(f) for f in facts]
        width = max(1, *(f.shape[1] for f in found))  # a query states one fact, its own
        return np.stack([np.pad(f, ((0, 0), (0, width - f.shape[1])), constant_values=-1) for f in found])

    def _numbers(self, facts: Sequence[Facts]) -> npt.NDArray[np.int32]:
        """Facts as numbers ``[products, most facts]``, padded with -1."""
        out = np.full((len(facts), max(map(len, facts), default=0)), -1, dtype=np.int32)
        for row, own in zip(out, facts, strict=True):
            row[: len(own)] = [self._fact(f) for f in own]
        return out

    def draw(self, rows: Ints, rng: np.random.Generator) -> CaptionBatch:
        """One caption for each of ``rows``."""
        chosen = np.searchsorted(self._edges, rng.random(len(rows)), side="right")
        chosen = chosen.clip(max=len(self._texts) - 1)
        return self._drawn(rows, chosen, self._ask(rows, rng, self._query_share))

    def draw_fields(self, rows: Ints, rng: np.random.Generator) -> list[Field]:
        """One caption of every kind for each of ``rows``, and a query for those that answer any."""
        every, none = np.arange(len(rows)), np.full(len(rows), -1, dtype=np.int64)
        whole = sum(share for share, _ in self._kinds.values())
        fields = [
            Field(
                (1 - self._query_share) * share / whole,
                every,
                self._drawn(rows, versions[rng.integers(len(versions), size=len(rows))], none),
            )
            for share, versions in self._kinds.values()
        ]
        if self._query_share:
            asked = self._ask(rows, rng, 1.0)
            some = np.flatnonzero(asked >= 0)
            first = np.zeros(len(some), dtype=np.int64)  # of which the query takes the place
            if len(some):
                fields.append(Field(self._query_share, some, self._drawn(rows[some], first, asked[some])))
        return fields

    def _drawn(self, rows: Ints, chosen: Ints, asked: Ints) -> CaptionBatch:
        """Captions of the chosen versions, or the queries that are asked (-1: none)."""
        texts, stated = self._texts[chosen, rows].astype(np.int64), self._stated[chosen, rows]
        known, swapped = self._known[rows], self._swapped_stated[chosen, rows]
        of_query = asked >= 0
        texts[of_query] = self._query_texts[asked[of_query]]
        stated = np.where(of_query[:, None], -1, stated)
        if of_query.any():
            stated[of_query, 0] = self._query_facts[asked[of_query]]
        some = (swapped >= 0).any(axis=1) & ~of_query
        same = texts[:, None] == texts[None, :]
        return CaptionBatch(
            texts,
            entailed(known, stated) | same,
            self._swapped[self._swapped_at[chosen[some]], rows[some]].astype(np.int64),
            entailed(known, swapped[some]),
        )

    def _ask(self, rows: Ints, rng: np.random.Generator, share: float) -> Ints:
        """A query that each product answers, for a share of them; -1 where another caption stands for it."""
        starts, flat = self._answers
        count = starts[rows + 1] - starts[rows]
        wanted = (rng.random(len(rows)) < share) & (count > 0)
        place = starts[rows] + np.floor(rng.random(len(rows)) * count).astype(np.int64)
        out = np.full(len(rows), -1, dtype=np.int64)
        out[wanted] = flat[place[wanted]]
        return out


def _ragged(lists: Sequence[Sequence[int]]) -> tuple[Ints, Ints]:
    """Where each list starts (and the last one ends) in all of them laid end to end."""
    starts = np.cumsum([0, *(len(own) for own in lists)])
    return starts, np.array([x for own in lists for x in own], dtype=np.int64)


def entailed(known: npt.NDArray[np.int32], stated: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """``[i, j]``: all that text j states is known of product i; a text that states nothing entails nothing.

    Args:
        known: ``[B, K]`` fact numbers of products. stated: ``[B, S]`` of texts; both padded with -1.
    """
    numbers = np.unique(stated[stated >= 0])  # what no text states decides nothing
    products, texts = (_multi_hot(x, numbers) for x in (known, stated))
    count = texts.sum(axis=1)
    every: npt.NDArray[np.bool_] = (products @ texts.T == count) & (count > 0)
    return every


def _multi_hot(facts: npt.NDArray[np.int32], numbers: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    out = np.zeros((len(facts), len(numbers)), dtype=np.float32)
    row, place = np.nonzero(np.isin(facts, numbers))
    out[row, np.searchsorted(numbers, facts[row, place])] = 1.0
    return out


def _subset_text(row: dict[str, Any], attributes: Sequence[dict[str, str]], names: Collection[str]) -> str:
    phrases = (attribute_phrase(a["name"], a["value"], names) for a in attributes)
    return " ".join([*phrases, row["product_type"]])
