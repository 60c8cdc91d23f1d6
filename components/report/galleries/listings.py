"""Generated listings as a seller is shown them, drawn at random, beside what is known to be true."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from components.catalog.format.attributes import Attributes, Value, as_value, of_pairs, shown
from components.report.catalogue import CheckedCatalogue, drawn, read_results
from components.report.errors import ReportInputError
from components.report.galleries.grounding import Box, checked_box
from components.report.params import ListingGalleryParams

COLUMNS = ["product_id", "category", "constrained_text"]
JUDGES = ("seller", "truth")  # each has a column of titles and one of attributes
TYPE = "type"  # what a listing calls the product type, unless an attribute is called so
State = Literal["right", "wrong", "plain", "missing"]


@dataclass(frozen=True)
class Entry:
    """One attribute: what the model says, how sure it is, and what is known of it.

    ``plain``: nothing is known. ``missing``: it is known and the model says nothing. ``left_out``: the value
    was not sure enough to be stated.
    """

    name: str
    text: str
    state: State
    confidence: float | None = None  # 0..1
    known: str = ""
    left_out: bool = False
    is_type: bool = False  # the product type, which is no attribute and not counted as a value


@dataclass(frozen=True)
class ListingCase:
    """One product as a seller is shown it; ``problem`` says why there is no listing."""

    product_id: str
    category: str
    title: str
    seller: str  # the seller's own title
    entries: tuple[Entry, ...] = ()
    problem: str = ""
    box: Box | None = None  # of the photo, that was read; None: all of it

    @property
    def stated(self) -> list[Entry]:
        """What the listing says."""
        return [each for each in self.entries if each.state != "missing" and not each.left_out]

    @property
    def unsure(self) -> list[Entry]:
        """What was left out as not visible."""
        return [each for each in self.entries if each.left_out]

    @property
    def missing(self) -> list[Entry]:
        """What is known and the model did not say."""
        return [each for each in self.entries if each.state == "missing"]

    @property
    def wrong(self) -> int:
        """Stated values that differ from what is known."""
        return sum(each.state == "wrong" for each in self.stated)


@dataclass(frozen=True)
class ListingGallery:
    """Listings drawn at random from all that were written, and counts of all of these.

    ``apart``: the truth is known apart from what sellers wrote; else the seller's own record is all there is.
    """

    system: str
    variant: str
    apart: bool
    point: str  # a sentence on what is left out; empty of results that do not say
    cases: tuple[ListingCase, ...]
    total: int
    counts: Counter[str]  # of all listings: values by state, those left out, and listings that are empty

    @property
    def wrong_share(self) -> float:
        """Of the stated values that can be judged, of all listings; 0 where none can be."""
        return self.counts["wrong"] / max(self.counts["wrong"] + self.counts["right"], 1)


def listing_gallery(
    folder: Path, params: ListingGalleryParams, seed: int, checked: CheckedCatalogue
) -> ListingGallery:
    """Draw ``params.count`` products of ``folder/VARIANT.parquet``, whatever was written about them.

    Raises:
        ReportInputError: the file or a column is missing or the file empty, a cell is no attributes, or a
            product is not in the catalogue.
    """
    path = folder / f"{params.variant}.parquet"
    columns = [f"{name}_{part}" for name in JUDGES for part in ("title", "attributes")]
    rows = {row["product_id"]: row for row in read_results(path, [*COLUMNS, *columns])}
    if not rows:
        raise ReportInputError(f"{path} holds no listing; run the evaluation again.")
    if unknown := sorted(each for each in rows if each not in checked.types):
        raise ReportInputError(
            f"{path} names product '{unknown[0]}', which data/checked lacks; run the evaluation again."
        )
    apart = any(
        row[f"truth_{p}"] != row[f"seller_{p}"] for row in rows.values() for p in ("title", "attributes")
    )
    cases = {each: _case(path, row, apart, checked.types[each]) for each, row in rows.items()}
    counts: Counter[str] = Counter(
        entry.state for case in cases.values() for entry in case.stated if not entry.is_type
    )
    counts["left_out"] = sum(not entry.is_type for case in cases.values() for entry in case.unsure)
    counts["empty"] = sum(not case.stated for case in cases.values())
    shown_cases = tuple(cases[each] for each in drawn(cases, params.count, seed))
    point = next(iter(rows.values())).get("point") or ""
    return ListingGallery(folder.name, params.variant, apart, point, shown_cases, len(cases), counts)


def _case(path: Path, row: dict[str, Any], apart: bool, product_type: str) -> ListingCase:
    known = _attributes(path, row, "truth_attributes")
    complete = apart and bool(known or row["truth_title"])
    box = checked_box(path, row["product_id"], "box", row["box"]) if row.get("box") else None
    case = ListingCase(row["product_id"], row["category"] or "", "", row["seller_title"] or "", box=box)
    try:
        said = json.loads(row["constrained_text"] or "")
        attributes = {str(name): _value(value) for name, value in said["attributes"].items()}
        title = str(said["title"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        text = row["constrained_text"] or "nothing was written"
        return replace(case, problem=f"no listing: {text}")
    typed = isinstance(said.get(TYPE), str) and TYPE not in attributes
    if typed:
        attributes = {TYPE: said[TYPE], **attributes}
        known = {TYPE: product_type, **known} if product_type else known
    sure, unsure = (
        {pair["name"]: pair["value"] for pair in row.get(column) or ()}
        for column in ("confidence", "left_out")
    )
    entries = [
        Entry(
            name,
            shown(value),
            _state(value, known.get(name), complete),
            unsure.get(name, sure.get(name)),
            shown(known.get(name, "")),
            name in unsure,
            typed and name == TYPE,
        )
        for name, value in attributes.items()
    ]
    entries += [
        Entry(name, "", "missing", known=shown(value))
        for name, value in known.items()
        if name not in attributes
    ]
    title = row["stated_title"] if row.get("stated_title") is not None else title
    return replace(case, title=title, entries=tuple(entries))


def _state(stated: Value, known: Value | None, complete: bool) -> State:
    """As the evaluation counts: what is not known is wrong where all is known, and else not judged."""
    if known is None:
        return "wrong" if complete else "plain"
    return "right" if known == stated else "wrong"


def _attributes(path: Path, row: dict[str, Any], column: str) -> Attributes:
    """A cell of ``{name, value}`` pairs as a mapping."""
    try:
        return of_pairs(row[column])
    except (ValueError, TypeError, KeyError):
        raise ReportInputError(
            f"{path}, product '{row['product_id']}', {column}: {str(row[column])[:80]!r} holds no attributes."
        ) from None


def _value(value: Any) -> Value:
    return as_value(map(_plain, value)) if isinstance(value, list | tuple) and value else _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
