"""One source row, read through a mapping: the draft of a product, a query or a judgement."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from components.catalog.format.records import SPLITS, Split
from components.catalog.source.mapping import EVERY, From, Mapping, QrelFields, QueryFields

MAX_TEXT_CHARS = 20_000  # of one field; longer texts are no listings
Fields = dict[str, Any]


class RowProblem(Exception):  # noqa: N818 - not an error of the run: the row is set aside and counted
    """Why a row is no product; ``field`` is Vitrine's name, ``reason`` a phrase with the source's name."""

    def __init__(self, field: str, reason: str, row_id: str = "") -> None:
        super().__init__(f"{field}: {reason}")
        self.field, self.reason, self.row_id = field, reason, row_id


class Draft(NamedTuple):
    """A product without its group and its decoded picture. ``image`` is a path in the folder, or bytes."""

    product_id: str
    title: str
    description: str
    category: str
    product_type: str
    attributes: dict[str, str]
    split: Split | None
    group_keys: list[str]
    image: str | bytes


def look_up(row: Fields, path: str) -> tuple[bool, Any]:
    """Whether ``row`` has the field ``path``, and what it holds there (None where it has not)."""
    if path in row:
        return True, row[path]
    here: Any = row
    for part in path.removesuffix(EVERY).split("."):
        if isinstance(here, dict) and part in here:
            here = here[part]
        elif isinstance(here, list) and part.isdigit() and int(part) < len(here):
            here = here[int(part)]
        else:
            return False, None
    return True, here


def field_names(row: Fields, prefix: str = "") -> Iterator[str]:
    """Every path that ``look_up`` would find a text under, depth first."""
    for name, value in row.items():
        if isinstance(value, dict) and value:
            yield from field_names(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and not isinstance(value[0], dict):
            yield from (f"{prefix}{name}.{index}" for index in range(min(len(value), 8)))
        else:
            yield f"{prefix}{name}"


def text_of(value: object) -> str:
    """A cell as one line of text: white space collapsed, lists joined, nothing for null and NaN.

    Raises:
        ValueError: an object, over ``MAX_TEXT_CHARS`` characters, or characters that are no Unicode text.
    """
    if value is None or value != value:  # NaN, as CSV tools write empty cells into Parquet
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ", ".join(filter(None, map(text_of, value)))
    if isinstance(value, dict | bytes):
        raise ValueError(
            "holds no text but " + ("fields of its own; name one of them" if value else "nothing")
        )
    text = " ".join(str(value).replace("\x00", " ").split())
    if len(text) > MAX_TEXT_CHARS:
        raise ValueError(f"has {len(text):,} characters, more than {MAX_TEXT_CHARS:,}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds characters that are no valid Unicode") from None
    return text


def read_text(row: Fields, source: From | None, name: str) -> str:
    """The text that ``source`` names in ``row``; empty when there is none.

    Raises:
        RowProblem: what the field holds is no text.
    """
    if source is None:
        return ""
    if source.constant is not None:
        return source.constant
    try:
        text = text_of(look_up(row, source.field or "")[1])
    except ValueError as error:
        raise RowProblem(name, f"{source.field} {error}") from None
    return source.values.get(text, text) or source.default or ""


def _required(row: Fields, source: From, name: str) -> str:
    text = read_text(row, source, name)
    if not text:
        raise RowProblem(name, f"{source.field} is missing or empty")
    return text


def _attributes(row: Fields, mapping: Mapping) -> dict[str, str]:
    found = {}
    for name, source in mapping.attributes.items():
        if name != "*":
            found[name] = read_text(row, source, f"attributes.{name}")
    if "*" in mapping.attributes:
        for name, value in _every(row, mapping.attributes["*"].field or ""):
            if name not in found:
                found[name] = read_text({"value": value}, From(field="value"), f"attributes.{name}")
    return {name: text for name, text in found.items() if text and name}


def _every(row: Fields, path: str) -> Iterator[tuple[str, Any]]:
    """Name and value of all that lies inside a field: an object, or a list of ``{name, value}``."""
    inside = look_up(row, path)[1]
    if isinstance(inside, str) and inside.lstrip().startswith("{"):  # JSON in a CSV cell
        try:
            inside = json.loads(inside)
        except ValueError:
            raise RowProblem("attributes", f"{path} is not JSON") from None
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
    text = _required(row, From(field=mapping.split.field, values=mapping.split.values), "split")
    for split in SPLITS:
        if text == split:
            return split
    raise RowProblem("split", f"{mapping.split.field} is {text[:40]!r}, not one of {', '.join(SPLITS)}")


def _image(row: Fields, mapping: Mapping) -> str | bytes:
    if mapping.image.path is not None:
        name = _required(row, From(field=mapping.image.path), "image")
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name:
            raise RowProblem("image", f"{name[:80]!r} leads outside the folder of images")
        return str(PurePosixPath(mapping.image.folder) / path)
    field = mapping.image.bytes or ""
    value = look_up(row, field)[1]
    if isinstance(value, dict):
        value = value.get("bytes")
    if isinstance(value, str):
        try:
            value = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise RowProblem("image", f"{field} is not base64") from None
    if not isinstance(value, bytes) or not value:
        raise RowProblem("image", f"{field} holds no picture")
    return value


def _group_keys(row: Fields, mapping: Mapping) -> list[str]:
    if mapping.group is None:
        return []
    texts = [(path, read_text(row, From(field=path), "group_id")) for path in mapping.group.union_of]
    return [f"{path}={text}" for path, text in texts if text]


def product_draft(row: Fields, mapping: Mapping) -> Draft:
    """Read a product.

    Raises:
        RowProblem: a required field is missing, or one holds what it cannot; ``row_id`` names the product.
    """
    fields = mapping.fields
    product_id = _required(row, fields.product_id, "product_id")
    try:
        return Draft(
            product_id=product_id,
            title=read_text(row, fields.title, "title"),
            description=read_text(row, fields.description, "description"),
            category=_required(row, fields.category, "category"),
            product_type=_required(row, fields.product_type, "product_type"),
            attributes=_attributes(row, mapping),
            split=_split(row, mapping),
            group_keys=_group_keys(row, mapping),
            image=_image(row, mapping),
        )
    except RowProblem as problem:
        problem.row_id = product_id
        raise
    except ValueError as error:
        raise RowProblem("attributes", str(error), product_id) from None


def query_row(row: Fields, fields: QueryFields) -> dict[str, str]:
    """Read a query as values of ``records.Query``.

    Raises:
        RowProblem: a field is missing, or the split is none.
    """
    found = {name: _required(row, source, name) for name, source in fields.__dict__.items()}
    if found["split"] not in SPLITS:
        raise RowProblem(
            "split", f"is {found['split'][:40]!r}, not one of {', '.join(SPLITS)}", found["query_id"]
        )
    return found


def qrel_row(row: Fields, fields: QrelFields) -> dict[str, str | int | None]:
    """Read a judgement as values of ``records.Qrel``.

    Raises:
        RowProblem: an id is missing, or a grade is no whole number in its range.
    """
    product_id = _required(row, fields.product_id, "product_id")
    return {
        "query_id": _required(row, fields.query_id, "query_id"),
        "product_id": product_id,
        "relevance": _grade(_required(row, fields.relevance, "relevance"), "relevance", 3, product_id),
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
