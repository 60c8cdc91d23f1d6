"""Preference pairs: a refined listing, and one that is worse, checked against the refined record.

Our choice of rejected answers: ``sampled`` from the tuned model itself (on-policy), the ``seller``'s own
listing, and ``swapped`` attributes from a visually near product. A pair is kept only if the rejected side is
worse by the record and the schema, and never if both sides say the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from components.catalog.format.attributes import Value, each, shown
from components.catalog.format.schema import CatalogSchema
from components.opal.model.errors import ListingDataError
from components.opal.model.listing_text import Listing, answer_text, parse_answer, schema_problems


@dataclass(frozen=True)
class PreferencePair:
    """One preference; ``checks`` says in words why the rejected side is worse."""

    product_id: str
    category: str
    prompt: str
    chosen: str
    rejected: str
    kind: str
    checks: tuple[str, ...]


def faults(schema: CatalogSchema, category: str, chosen: Listing, rejected: str) -> tuple[str, ...]:
    """In which ways an answer is worse than the refined listing; empty when it is not.

    Worse is: no JSON listing at all, against the schema, a value that contradicts the record, an attribute
    that the record does not support, or one that it has and the answer lacks.
    """
    listing = parse_answer(rejected, schema.categories.get(category))
    if listing is None:
        return ("not a listing",)
    titled = bool(chosen.title)
    found = [f"schema: {p}" for p in schema_problems(schema, category, listing, require=False, titled=titled)]
    if listing.product_type and listing.product_type != chosen.product_type:
        found.append("contradicts: product_type")
    for name, value in sorted(listing.attributes.items()):
        expected = chosen.attributes.get(name)
        if expected is None:
            found.append(f"unsupported: {name}")
        elif set(each(value)) - set(each(expected)):
            found.append(f"contradicts: {name}")
        elif value != expected:
            found.append(f"omits a value: {name}")
    found += [f"omits: {name}" for name in sorted(set(chosen.attributes) - set(listing.attributes))]
    return tuple(found)


@dataclass(frozen=True)
class ListingQuestion:
    """What is asked about one product, and the listing that should be the answer."""

    product_id: str
    category: str
    prompt: str
    chosen: Listing


def make_pair(
    schema: CatalogSchema, asked: ListingQuestion, rejected: str, kind: str
) -> PreferencePair | None:
    """A pair, or None when the rejected answer is not worse (or is the same)."""
    wanted = answer_text(asked.chosen, schema.categories[asked.category])
    checks = faults(schema, asked.category, asked.chosen, rejected)
    if not checks or rejected.strip() == wanted.strip():
        return None
    return PreferencePair(asked.product_id, asked.category, asked.prompt, wanted, rejected, kind, checks)


def first_new(
    pairs: Iterable[PreferencePair], count: int, known: Sequence[PreferencePair]
) -> list[PreferencePair]:
    """The first ``count`` pairs that are not among ``known``: a sampled and a swapped answer may be one."""
    seen = {(pair.product_id, pair.rejected) for pair in known}
    new = (pair for pair in pairs if (pair.product_id, pair.rejected) not in seen)
    return [pair for pair, _ in zip(new, range(count), strict=False)] if count else []


def check_pairs(pairs: Sequence[PreferencePair]) -> None:
    """Refuse pairs that teach nothing or the wrong thing.

    Raises:
        ListingDataError: equal sides, an empty side, or a pair without a check; names the products.
    """
    if not pairs:
        raise ListingDataError(
            "there is no preference pair to learn from; run 'vitrine run --until preferences' again."
        )
    for reason, bad in (
        ("have equal sides", [p for p in pairs if p.chosen.strip() == p.rejected.strip()]),
        ("have an empty side", [p for p in pairs if not p.chosen.strip() or not p.rejected.strip()]),
        ("say nowhere why one side is worse", [p for p in pairs if not p.checks]),
    ):
        if bad:
            names = ", ".join(sorted({p.product_id for p in bad})[:5])
            raise ListingDataError(f"{len(bad)} preference pairs {reason}: {names}; make them again.")


def contradicting(chosen: Listing, other: Mapping[str, Value]) -> Listing | None:
    """The refined listing with every value that ``other`` states otherwise; None if there is none.

    Both sides then state the same attributes in the same order. Were one side shorter, a model would learn to
    say less (or more) instead of saying what is right: that is the easier difference.
    """
    wrong = {n: v for n, v in other.items() if chosen.attributes.get(n, v) != v}
    if not wrong:
        return None
    title = chosen.title
    for name, value in wrong.items():
        was, now = shown(chosen.attributes[name]), shown(value)
        title = title.replace(was, now)
        title = title.replace(was.capitalize(), now.capitalize())
    return replace(chosen, title=title, attributes={**chosen.attributes, **wrong})


def swapped_listing(
    chosen: Listing, near: Mapping[str, Value], most: int, random: np.random.Generator
) -> Listing | None:
    """The refined listing with up to ``most`` values of a visually near product; None if all are equal."""
    differing = sorted(n for n, v in near.items() if n in chosen.attributes and chosen.attributes[n] != v)
    if not differing:
        return None
    count = int(random.integers(1, min(most, len(differing)) + 1))
    names = random.choice(len(differing), size=count, replace=False)
    return contradicting(chosen, {differing[i]: near[differing[i]] for i in names})


def shared_out(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """How many pairs of each kind are wanted; rounding goes to the larger shares."""
    weight = sum(shares.values())
    counts = {kind: int(total * share / weight) for kind, share in shares.items()}
    for kind in sorted(shares, key=lambda k: -shares[k])[: total - sum(counts.values())]:
        counts[kind] += 1
    return counts


def nearest(
    vectors: npt.NDArray[np.float32], categories: Sequence[str], rows: npt.NDArray[np.int64], k: int
) -> npt.NDArray[np.int64]:
    """For each of ``rows``, the ``k`` nearest others of ``rows`` in its category; -1 where there are fewer.

    Args:
        vectors: unit vectors of all products. categories: of all products. rows: positions to search among.
    """
    out = np.full((len(rows), k), -1, dtype=np.int64)
    labels = np.array([categories[i] for i in rows])
    for label in np.unique(labels):
        inside = np.flatnonzero(labels == label)
        scores = vectors[rows[inside]] @ vectors[rows[inside]].T
        np.fill_diagonal(scores, -np.inf)
        best = np.argsort(-scores, axis=1, kind="stable")[:, : min(k, len(inside) - 1)]
        out[inside[:, None], np.arange(best.shape[1])] = rows[inside[best]]
    return out
