"""Lessons that fit the model: answers are shortened by whole attributes, those first that little supports."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq

from components.catalog.format.schema import CatalogSchema
from components.opal.model.listing_text import answer_text, parse_answer
from components.opal.model.sft.samples import LISTING, Lessons, Sample
from components.opal.model.writing.fitting import Fitting, LeftOut, Support


def supports(refined: Path, products: Collection[str]) -> dict[str, dict[str, float]]:
    """How far refinement found each attribute of some products supported, the worst of its values."""
    file = refined / "decisions.parquet"
    if not products or not file.exists():
        return {}
    columns = ["product_id", "name", "support"]
    chosen = [("product_id", "in", list(products)), ("field", "=", "attributes")]
    found: dict[str, dict[str, float]] = {}
    for row in pq.read_table(file, columns=columns, filters=chosen).to_pylist():
        if row["support"] is not None:
            of = found.setdefault(row["product_id"], {})
            of[row["name"]] = min(of.get(row["name"], 1.0), row["support"])
    return found


def fitted(
    lessons: Lessons, fitting: Fitting, schema: CatalogSchema, refined: Path | None
) -> tuple[Lessons, LeftOut]:
    """The lessons without what the model cannot read or write at once, and what that was.

    Where no listing fits the lessons stay as they are: the tuning then says so and does not begin.

    Args:
        refined: folder whose decisions say what is supported; None: the order of the schema decides.
    """
    left_out = LeftOut()
    asked = _fitting(lessons.asked, fitting)
    whole = []
    long = {s.product_id for s, fits in _judged(lessons.whole, fitting) if not fits}
    support = supports(refined, long) if refined else {}
    for sample in lessons.whole:
        kept = sample
        if sample.product_id in long:
            found = _shortened(sample, fitting, schema, support.get(sample.product_id, {}), left_out)
            if found is None:
                continue
            kept = found
        whole.append(kept)
    if not whole:
        return lessons, LeftOut()
    left_out.dropped += len(lessons.asked) - len(asked)
    return replace(lessons, whole=whole, asked=asked), left_out


def _judged(samples: Sequence[Sample], fitting: Fitting) -> list[tuple[Sample, bool]]:
    return list(zip(samples, fitting.fit([(s.question, s.answer) for s in samples]), strict=True))


def _fitting(samples: Sequence[Sample], fitting: Fitting) -> list[Sample]:
    return [sample for sample, fits in _judged(samples, fitting) if fits]


def _shortened(
    sample: Sample, fitting: Fitting, schema: CatalogSchema, support: Support, left_out: LeftOut
) -> Sample | None:
    """A sample with fewer attributes; None, and counted, if it does not fit without any."""
    assert sample.grain == LISTING
    category = schema.categories.get(sample.category)
    listing = parse_answer(sample.answer, category)
    short = fitting.shortened(sample.question, listing, category, support) if listing else None
    if listing is None or short is None:
        left_out.dropped += 1
        return None
    left_out.shortened += 1
    left_out.attributes.update(set(listing.attributes) - set(short.attributes))
    return replace(sample, answer=answer_text(short, category))
