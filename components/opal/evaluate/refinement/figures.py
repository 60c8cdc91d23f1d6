"""How near sellers' and refined listings are to the truth, and what became of each kind of noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from components.catalog.format.attributes import Value, each, facts
from components.catalog.format.records import Truth
from components.opal.evaluate.listings.macro_f1 import by_group, count_values, macro_f1_interval
from components.opal.evaluate.listings.measures import Target, rouge_l
from components.opal.model.listing_text import Listing
from components.stage.record import Interval


@dataclass(frozen=True)
class Case:
    """One product: what the seller wrote, what was left of it, and what is true."""

    product_id: str
    category: str
    group_id: str
    seller: Listing
    refined: Listing
    truth: Truth

    def listing(self, variant: str) -> Listing:
        """The listing of ``seller`` or ``refined``."""
        return self.seller if variant == "seller" else self.refined


def pair_f1(stated: Mapping[str, Value], true: Mapping[str, Value]) -> tuple[float, float, float]:
    """Precision, recall and F1 of attribute pairs, exact; NaN where the measure has nothing to look at."""
    said, known = set(facts(stated)), set(facts(true))
    hits, both = len(said & known), len(said) + len(known)
    precision = hits / len(said) if said else np.nan
    recall = hits / len(known) if known else np.nan
    return precision, recall, 2 * hits / both if both else np.nan


def _words(text: str) -> set[str]:
    """Words for comparing: small letters, no punctuation, no possessive (``Men's`` is ``men``)."""
    return {word.strip(".,;:!?()'").removesuffix("'s") for word in text.casefold().split()}


def untold(true: Mapping[str, Value], title: str) -> set[str]:
    """Attributes whose true value, or one of several, the title does not state in full."""
    said = _words(title)
    return {name for name, value in facts(true) if not _words(value) <= said}


def product_figures(case: Case, variant: str) -> dict[str, float]:
    """Metrics of one product's listing."""
    listing = case.listing(variant)
    precision, recall, f1 = pair_f1(listing.attributes, case.truth.attributes)
    titled = bool(case.seller.title) and bool(case.truth.title)
    hidden = untold(case.truth.attributes, case.seller.title)
    stated, true = (
        {n: v for n, v in attributes.items() if n in hidden}
        for attributes in (listing.attributes, case.truth.attributes)
    )
    return {
        "attribute_f1": f1,
        # of the values that nobody could copy from the seller's title
        "untold_attribute_f1": pair_f1(stated, true)[2],
        "precision": precision,
        "recall": recall,
        "title_rouge_l": rouge_l(listing.title, case.truth.title) if titled else np.nan,
        "title_exact": float(listing.title == case.truth.title) if titled else np.nan,
    }


def macro_f1(cases: Sequence[Case], variant: str, seed: int, samples: int) -> Interval:
    """Mean over attributes of each one's F1 over products; the bootstrap resamples groups of products."""
    ordered = sorted(cases, key=lambda case: case.group_id)
    targets = [
        Target(case.product_id, case.category, Listing(case.truth.title, case.truth.attributes))
        for case in ordered
    ]
    counts = count_values(targets, [case.listing(variant) for case in ordered])
    if not counts.names:
        return Interval(value=float("nan"), n=0)
    return macro_f1_interval(by_group(counts, [case.group_id for case in ordered]), seed, samples)


# Judgements of refinement: metric -> one 0/1 per unit, with the unit's group.
Judged = dict[str, tuple[list[float], list[str]]]


def _note(judged: Judged, metric: str, hit: bool, case: Case) -> None:
    hits, groups = judged.setdefault(metric, ([], []))
    hits.append(float(hit))
    groups.append(case.group_id)


def _become(case: Case, name: str, value: str) -> str | None:
    """What refinement made of a seller's value; None where it is gone.

    Of several values those that stay are themselves; another one became the value that is new, if one is.
    """
    now, before = each(case.refined.attributes.get(name)), each(case.seller.attributes.get(name))
    if value in now:
        return value
    return next((text for text in now if text not in before), None)


def judged_values(cases: Sequence[Case]) -> Judged:
    """How well drops and normalisations did, one unit per attribute value that the seller stated.

    ``drop_precision``: of dropped values, how many were wrong. ``drop_recall``: of wrong values, how many
    were dropped or mended; also per kind of noise. ``right_kept``: of right values, how many are still there.
    ``normalise_precision``: of values put in another form, how many are now right.
    """
    out: Judged = {}
    for case in cases:
        noise, true = {n.field: n.kind for n in case.truth.noise}, case.truth.attributes
        for name, value in facts(case.seller.attributes):
            now, wrong = _become(case, name, value), value not in each(true.get(name))
            if now is None:
                _note(out, "drop_precision", wrong, case)
            elif now != value:
                _note(out, "normalise_precision", now in each(true.get(name)), case)
            if not wrong:
                _note(out, "right_kept", now == value, case)
                continue
            mended = now is None or now in each(true.get(name))
            _note(out, "drop_recall", mended, case)
            _note(out, f"drop_recall_{noise.get(f'attributes.{name}', 'unknown')}", mended, case)
    return out


def judged_titles(cases: Sequence[Case]) -> Judged:
    """Per kind of title noise, how many touched titles are again the true one, word by word."""
    out: Judged = {}
    for case in cases:
        kinds = {n.kind for n in case.truth.noise if n.field == "title"}
        if case.seller.title and case.truth.title and len(kinds) < 2:
            metric = f"title_mended_{kinds.pop()}" if kinds else "title_unharmed"
            _note(out, metric, case.refined.title == case.truth.title, case)
    return out
