"""How good a listing is, product by product, against what is really there.

A new measure is a function of a ``Comparison`` and its name in ``MEASURES``: figures, intervals and the files
per product follow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from components.catalog.format.attributes import each, facts
from components.catalog.format.schema import CatalogSchema
from components.opal.model.listing_text import Listing, schema_problems

Floats = npt.NDArray[np.float64]
NAN = float("nan")


@dataclass(frozen=True)
class Target:
    """The true listing of one product."""

    product_id: str
    category: str
    listing: Listing
    complete: bool = True  # False: the seller's own words, and what they leave out may be true

    def judged(self, listing: Listing | None) -> list[tuple[str, str]]:
        """The values of ``listing``, each with its attribute, that can be told right from wrong."""
        said = facts(listing.attributes) if listing else []
        return [(n, value) for n, value in said if self.complete or n in self.listing.attributes]


class ListingComparison(NamedTuple):
    """One product's listing beside the truth, and how many of its values are right, wrong and missed.

    A stated value is right or wrong; a true value that is not stated, or stated wrongly, is missed. What
    cannot be read as a listing is None and states nothing.
    """

    schema: CatalogSchema
    target: Target
    listing: Listing | None
    right: int
    wrong: int
    missed: int

    @property
    def title(self) -> str:
        """The title that was written."""
        return self.listing.title if self.listing else ""


def compare(schema: CatalogSchema, target: Target, listing: Listing | None) -> ListingComparison:
    """Hold a listing against the truth, value by value."""
    truth, said = set(facts(target.listing.attributes)), set(target.judged(listing))
    right = len(truth & said)
    return ListingComparison(schema, target, listing, right, len(said) - right, len(truth) - right)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else NAN


def valid(found: ListingComparison) -> float:
    """Whether it is a JSON listing within its category's schema; a missing value is allowed."""
    if found.listing is None:
        return 0.0
    return float(not schema_problems(found.schema, found.target.category, found.listing, require=False))


def correct(found: ListingComparison) -> float:
    """Whether it is valid, states something, and nothing wrong."""
    return valid(found) if found.right and not found.wrong else 0.0


def completion_rate(found: ListingComparison) -> float:
    """Share of the true values in whose place something is stated, rightly or not.

    An attribute of several true values counts as often, as far as so many are stated.
    """
    known, said = found.target.listing.attributes, found.listing.attributes if found.listing else {}
    stated = sum(min(len(each(said.get(name))), len(each(value))) for name, value in known.items())
    return _ratio(stated, len(facts(known)))


def precision(found: ListingComparison) -> float:
    """Share of the stated values that are right."""
    return _ratio(found.right, found.right + found.wrong)


def hallucination_rate(found: ListingComparison) -> float:
    """Share of the stated values that are wrong."""
    return _ratio(found.wrong, found.right + found.wrong)


def attribute_f1(found: ListingComparison) -> float:
    """Harmonic mean of precision and recall of the values."""
    return _ratio(2 * found.right, 2 * found.right + found.wrong + found.missed)


def type_accuracy(found: ListingComparison) -> float:
    """Whether the product type that is stated is the product's; not defined where none is stated."""
    said, true = found.listing.product_type if found.listing else "", found.target.listing.product_type
    return float(said == true) if said and true else NAN


def title_rouge_l(found: ListingComparison) -> float:
    """ROUGE-L F1 of the title (Lin 2004, by rouge-score), 0..1."""
    true = found.target.listing.title.casefold()
    return rouge_l(found.title.casefold(), true) if true.strip() else NAN


def title_bleu(found: ListingComparison) -> float:
    """Sentence BLEU of the title (sacrebleu, effective order), 0..1."""
    true = found.target.listing.title.casefold()
    return _bleu(found.title.casefold(), true) if true.strip() else NAN


# What is measured of each product; NaN where a measure is not defined (nothing stated, nothing to state).
MEASURES: tuple[Callable[[ListingComparison], float], ...] = (
    valid,
    correct,
    completion_rate,
    precision,
    hallucination_rate,
    attribute_f1,
    type_accuracy,
    title_rouge_l,
    title_bleu,
)


def product_measures(
    schema: CatalogSchema, targets: Sequence[Target], listings: Sequence[Listing | None]
) -> dict[str, Floats]:
    """Every measure by name, one value per product."""
    compared = [compare(schema, target, x) for target, x in zip(targets, listings, strict=True)]
    return {m.__name__: np.array([m(found) for found in compared], np.float64) for m in MEASURES}


# Free and constrained decoding, and the models among each other, mostly write the same title.
@lru_cache(maxsize=100_000)
def rouge_l(title: str, true: str) -> float:
    """ROUGE-L F of a title (Lin 2004, by rouge-score); NaN where there is no true title."""
    return float(_rouge().score(true, title)["rougeL"].fmeasure) if true else NAN


@cache
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"])


@lru_cache(maxsize=100_000)
def _bleu(title: str, true: str) -> float:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(effective_order=True).sentence_score(title, [true]).score / 100 if title.strip() else 0.0


def noise_kinds(cell: list[dict[str, Any]] | None) -> set[str]:
    """Families of what the seller did to a listing: ``misspelling.swapped`` is of the family misspelling."""
    return {entry["kind"].split(".")[0] for entry in cell or ()}
