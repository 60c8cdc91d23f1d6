"""One source row, read through a mapping: the draft of a product, a query or a judgement."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from components.catalog.format.attributes import Attributes, as_value
from components.catalog.format.prices import NoPriceError, amount_in, currency_of
from components.catalog.format.records import SPLITS, Split
from components.catalog.source.mapping import From, Mapping, QrelFields, QueryFields
from components.catalog.source.values.paths import Fields, look_up, opened
from components.catalog.source.values.pictures import pictures
from components.catalog.source.values.texts import RowProblem, read_text, read_values, required, text_of


class Draft(NamedTuple):
    """A product without its group and its decoded pictures: ``image`` and ``more_images`` are paths in the
    folder, or bytes.
    """

    product_id: str
    title: str
    description: str
    category: str
    product_type: str
    attributes: Attributes
    split: Split | None
    group_keys: list[str]
    image: str | bytes
    several: dict[str, str]  # our name -> which of several values was taken, and some of them
    more_images: list[str | bytes]
    pictures_left: int  # named beside these
    url: str  # that the picture's name was taken from, if one was
    unread: dict[str, str]  # our name -> what stood there and why it is no value, for attributes left out


def _attributes(row: Fields, mapping: Mapping, several: dict[str, str], unread: dict[str, str]) -> Attributes:
    found = {}
    for name, source in mapping.attributes.items():
        if name != "*":
            found[name] = read_values(row, source, f"attributes.{name}", several)
            if source.price and found[name]:
                found[name] = _price(row, source, name, found[name], unread)
    if "*" in mapping.attributes:
        every = mapping.attributes["*"]
        inside = From(field="value", raw=every.raw)
        listed: defaultdict[str, list[str]] = defaultdict(list)
        for name, value in _every(row, every.field or ""):
            if name not in found:
                listed[name] += read_values({"value": value}, inside, f"attributes.{name}", several)
        found |= listed
    return {name: as_value(texts) for name, texts in found.items() if texts and name}


def _price(row: Fields, source: From, name: str, texts: list[str], unread: dict[str, str]) -> list[str]:
    """The amount of a price; nothing where there is none, and ``unread`` is told."""
    text = texts[0]
    if len(texts) > 1:
        unread[f"attributes.{name}"] = f"{', '.join(texts)[:80]!r} holds several prices"
        return []
    if source.field and isinstance(look_up(row, source.field)[1], int | float | Decimal):
        return texts  # a number of JSON or Parquet has no sign for thousands
    stated = read_text(row, From(field=source.currency), "currency") if source.currency else ""
    try:
        return [amount_in(text, currency_of(name), stated)]
    except NoPriceError as error:
        unread[f"attributes.{name}"] = f"{f'{text} {stated}'.strip()[:80]!r} {error}"
        return []


def _every(row: Fields, path: str) -> Iterator[tuple[str, Any]]:
    """Name and value of all that lies inside a field: an object, or a list of ``{name, value}``."""
    inside = opened(look_up(row, path)[1])
    if isinstance(inside, str) and inside.lstrip().startswith("{"):
        raise RowProblem("attributes", f"{path} is not JSON")
    if isinstance(inside, dict):
        yield from ((text_of(name), value) for name, value in inside.items())
    elif isinstance(inside, list):
        for pair in inside:
            if not (isinstance(pair, dict) and "name" in pair and "value" in pair):
                raise RowProblem("attributes", f"{path} is not a list of {{name, value}}")
            yield text_of(pair["name"]), pair["value"]
    elif inside:
        raise RowProblem("attributes", f"{path} holds no fields")


def _split(row: Fields, mapping: Mapping) -> Split | None:
    if mapping.split is None:
        return None
    text = required(row, From(field=mapping.split.field, values=mapping.split.values), "split")
    return _known_split(text, f"{mapping.split.field} is")


def _known_split(text: str, said: str, row_id: str = "") -> Split:
    for split in SPLITS:
        if text == split:
            return split
    raise RowProblem("split", f"{said} {text[:40]!r}, not one of {', '.join(SPLITS)}", row_id)


def _group_keys(row: Fields, mapping: Mapping) -> list[str]:
    if mapping.group is None:
        return []
    texts = [(path, read_text(row, From(field=path), "group_id")) for path in mapping.group.union_of]
    return [f"{path}={text}" for path, text in texts if text]


def product_draft(row: Fields, mapping: Mapping, root: Path) -> Draft:
    """Read a product; the first of its pictures that exists below ``root`` is the main one.

    Raises:
        RowProblem: a required field is missing, or one holds what it cannot; ``row_id`` names the product.
    """
    fields = mapping.fields
    several: dict[str, str] = {}
    unread: dict[str, str] = {}
    product_id = required(row, fields.product_id, "product_id", several)
    try:
        return Draft(
            product_id=product_id,
            title=read_text(row, fields.title, "title", several),
            description=read_text(row, fields.description, "description", several),
            category=required(row, fields.category, "category", several),
            product_type=required(row, fields.product_type, "product_type", several),
            attributes=_attributes(row, mapping, several, unread),
            split=_split(row, mapping),
            group_keys=_group_keys(row, mapping),
            several=several,
            unread=unread,
            **pictures(row, mapping, root)._asdict(),
        )
    except RowProblem as problem:
        problem.row_id = product_id
        raise
    except ValueError as error:
        raise RowProblem("attributes", str(error), product_id) from None


def query_row(row: Fields, fields: QueryFields) -> dict[str, Any]:
    """Read a query as values of ``records.Query``.

    Raises:
        RowProblem: a field is missing, or the split is none.
    """
    found = {name: required(row, source, name) for name, source in fields.__dict__.items()}
    _known_split(found["split"], "is", found["query_id"])
    return found


def qrel_row(row: Fields, fields: QrelFields) -> dict[str, Any]:
    """Read a judgement as values of ``records.Qrel``.

    Raises:
        RowProblem: an id is missing, or a grade is no whole number in its range.
    """
    product_id = required(row, fields.product_id, "product_id")
    return {
        "query_id": required(row, fields.query_id, "query_id"),
        "product_id": product_id,
        "relevance": _grade(required(row, fields.relevance, "relevance"), "relevance", 3, product_id),
        "desirability": _grade(
            read_text(row, fields.desirability, "desirability"), "desirability", 4, product_id
        ),
    }


def _grade(text: str, name: str, highest: int, product_id: str) -> int | None:
    if not text:
        return None
    try:
        grade = float(text)
    except ValueError:
        grade = -1
    if grade != int(max(-1, min(grade, highest + 1))) or not 0 <= grade <= highest:
        raise RowProblem(name, f"is {text[:40]!r}, not a whole number from 0 to {highest}", product_id)
    return int(grade)
