"""Generated listings as examples: photo, seller's text, refined, raw and constrained answers, the truth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from components.catalog.format.attributes import Attributes, Value, as_value, facts, of_pairs, shown
from components.report.catalogue import CheckedCatalogue, drawn
from components.report.errors import ReportInputError
from components.report.galleries.per_query import read_results
from components.report.params import ListingGalleryParams

KEYS = ["product_id", "category"]
GIVEN = ("seller", "refined", "truth")  # each has a column of titles and one of attributes
PARTS = ("title", "attributes")
GENERATED = ("raw", "constrained")  # each has a column of texts, as the model wrote them
State = Literal["right", "wrong", "absent", "plain"]


@dataclass(frozen=True)
class Version:
    """One version of a listing; ``problem`` says why there is none to show."""

    name: str
    title: str
    attributes: Attributes
    problem: str = ""
    confidence: dict[str, float] = field(default_factory=dict)  # by attribute, 0..1


@dataclass(frozen=True)
class Cell:
    """One attribute of one version: right or wrong by the truth, absent, or plain where truth is unknown.

    Several values are right together.
    """

    text: str
    state: State
    confidence: float | None = None
    version: str = ""  # whose it is


@dataclass(frozen=True)
class ListingCase:
    """One product: its versions side by side, and a row of cells per attribute."""

    product_id: str
    category: str
    failed: bool
    summary: str  # what is wrong with the generated listing, in numbers
    versions: tuple[Version, ...]
    truth: Version | None
    apart: bool = True  # False: the truth is what the seller wrote, and says nothing where the seller did not

    @property
    def rows(self) -> list[tuple[str, list[Cell], str]]:
        """(attribute, a cell per version, its true value), by name."""
        true = self.truth.attributes if self.truth else {}
        names = sorted({*true, *(name for version in self.versions for name in version.attributes)})
        return [
            (
                name,
                [cell(version, name, self._judge(name)) for version in self.versions],
                shown(true.get(name, "")),
            )
            for name in names
        ]

    def _judge(self, name: str) -> Version | None:
        """What judges an attribute, if anything does."""
        return self.truth if self.apart or (self.truth and name in self.truth.attributes) else None


@dataclass(frozen=True)
class ListingGallery:
    """Listings shown, failures first."""

    system: str
    variant: str
    total: int
    failed: int
    cases: tuple[ListingCase, ...]


def cell(version: Version, name: str, truth: Version | None) -> Cell:
    """What a version says of an attribute; right is equal to the truth, as the evaluation counts it."""
    stated, sure = version.attributes.get(name), version.confidence.get(name)
    if stated is None:
        return Cell("", "absent", version=version.name)
    if truth is None:
        return Cell(shown(stated), "plain", sure, version.name)
    right = truth.attributes.get(name) == stated
    return Cell(shown(stated), "right" if right else "wrong", sure, version.name)


def listing_gallery(
    folder: Path, params: ListingGalleryParams, seed: int, checked: CheckedCatalogue
) -> ListingGallery:
    """Draw products of ``folder/VARIANT.parquet`` and lay the versions of their listings side by side.

    Raises:
        ReportInputError: the file or a column is missing or the file empty, a cell is no attributes, or a
            product is not in the catalogue.
    """
    path = folder / f"{params.variant}.parquet"
    columns = [f"{name}_{part}" for name in GIVEN for part in PARTS]
    columns += [f"{name}_text" for name in GENERATED]
    rows = {row["product_id"]: row for row in read_results(path, [*KEYS, *columns])}
    if not rows:
        raise ReportInputError(f"{path} holds no listing; run the evaluation again.")
    apart = any(row[f"truth_{part}"] != row[f"seller_{part}"] for row in rows.values() for part in PARTS)
    cases = {each: _case(path, row, apart) for each, row in sorted(rows.items())}
    failed = [each for each, case in cases.items() if case.failed]
    passed = [each for each, case in cases.items() if not case.failed]
    ids = drawn(failed, params.failures, seed) + drawn(passed, params.successes, seed)
    if unknown := [each for each in ids if each not in checked.types]:
        raise ReportInputError(
            f"{path} names product '{unknown[0]}', which data/checked lacks; run the evaluation again."
        )
    shown = tuple(cases[each] for each in ids)
    return ListingGallery(folder.name, params.variant, len(cases), len(failed), shown)


def _case(path: Path, row: dict[str, Any], apart: bool) -> ListingCase:
    given = {
        name: Version(name, row[f"{name}_title"] or "", _attributes(path, row, f"{name}_attributes"))
        for name in GIVEN
    }
    generated = [_answer(name, row[f"{name}_text"]) for name in GENERATED]
    sure = {pair["name"]: pair["value"] for pair in row.get("confidence") or ()}
    generated[-1] = replace(generated[-1], confidence=sure)  # the confidences are of the last answer
    truth = given.pop("truth")
    known = truth if truth.title or truth.attributes else None
    failed, summary = _judged(generated, known, apart)
    versions = (*given.values(), *generated)
    return ListingCase(row["product_id"], row["category"] or "", failed, summary, versions, known, apart)


def _attributes(path: Path, row: dict[str, Any], column: str) -> Attributes:
    """A cell of ``{name, value}`` pairs, or of a JSON object, as a mapping."""
    value = row[column]
    try:
        loaded = json.loads(value) if isinstance(value, str) else value
        if not isinstance(loaded, Mapping):
            loaded = of_pairs(loaded)
        return {str(name): _value(each) for name, each in loaded.items()}
    except (ValueError, TypeError, KeyError):
        raise ReportInputError(
            f"{path}, product '{row['product_id']}', {column}: {str(value)[:80]!r} holds no attributes."
        ) from None


def _answer(name: str, text: str | None) -> Version:
    """A model's answer read as a listing; what cannot be read is said and shown as it stands."""
    try:
        loaded = json.loads(text or "")
        attributes = {str(key): _value(value) for key, value in loaded["attributes"].items()}
        return Version(name, str(loaded["title"]), attributes)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Version(name, "", {}, f"no listing: {text or 'nothing was written'}")


def _value(value: Any) -> Value:
    return as_value(map(_plain, value)) if isinstance(value, list | tuple) and value else _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _judged(generated: list[Version], truth: Version | None, apart: bool) -> tuple[bool, str]:
    """Whether generation failed, in words: a version unreadable, or the last, which a shop uses, wrong.

    Where the truth is the seller's own listing (not ``apart``), what the seller left empty is not judged.
    """
    unreadable = [version.name for version in generated if version.problem]
    if unreadable:
        return True, f"{' and '.join(unreadable)}: no listing"
    if truth is None:
        return False, "readable"
    said, true = set(facts(generated[-1].attributes)), set(facts(truth.attributes))
    if not apart:
        said = {fact for fact in said if fact[0] in truth.attributes}
        return bool(
            said - true
        ), f"{len(said & true)} of {len(true)} as the seller, {len(said - true)} otherwise"
    return bool(said - true), f"{len(said & true)} of {len(true)} right, {len(said - true)} wrong"
