"""A field of a row as text: one line, without markup of ours, or the reason why it is none."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from string import Formatter
from typing import Any

from components.catalog.format.schema import MOST_VALUES
from components.catalog.source.mapping import From
from components.catalog.source.reading.row import composed
from components.catalog.source.values.markup import plain_text
from components.catalog.source.values.paths import Fields, look_up, opened

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
MAX_TEXT_CHARS = 20_000  # of one field; longer texts are no listings
EXACT_FLOAT = 2.0**53  # whole numbers beyond it have no float of their own
CODES = ("product_id", "group_id", "split", "image", "query_id", "relevance", "desirability")  # never HTML
RUNNING = ("title", "description")  # texts of which several parts are one text


class RowProblem(Exception):  # noqa: N818 - not an error of the run: the row is set aside and counted
    """Why a row is no product; ``field`` is Vitrine's name, ``reason`` a phrase with the source's name."""

    def __init__(self, field: str, reason: str, row_id: str = "") -> None:
        super().__init__(f"{field}: {reason}")
        self.field, self.reason, self.row_id = field, reason, row_id


def text_of(value: object) -> str:
    """A cell as one line of text in Unicode's composed form: white space collapsed, lists joined.

    Control characters count as white space, as line ends do.

    Null and NaN give nothing. A whole number that was kept as a float is written without a fraction.

    Raises:
        ValueError: an object, over ``MAX_TEXT_CHARS`` characters, characters that are no Unicode text, or a
            number whose digits a float has lost.
    """
    if value is None or value != value:  # NaN, as CSV tools write empty cells into Parquet
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ", ".join(filter(None, map(text_of, value)))
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, bytes):
        try:
            return text_of(value.decode())
        except UnicodeDecodeError:
            raise ValueError("holds bytes that are no text") from None
    if isinstance(value, dict):
        raise ValueError(
            "holds no text but " + ("fields of its own; name one of them" if value else "nothing")
        )
    text = composed(" ".join(_CONTROL.sub(" ", str(value)).split()))
    if len(text) > MAX_TEXT_CHARS:
        raise ValueError(f"has {len(text):,} characters, more than {MAX_TEXT_CHARS:,}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds characters that are no valid Unicode") from None
    return text


def _number(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError("holds no finite number")
    if not value.is_integer():
        return repr(value)
    if abs(value) > EXACT_FLOAT:
        raise ValueError("holds a number that was kept as a float, which has lost its last digits")
    return str(int(value))


def read_texts(row: Fields, source: From | None, name: str) -> list[str]:
    """The texts that ``source`` names in ``row``, several where the field is a list; none of them is empty.

    Raises:
        RowProblem: what the field holds is no text.
    """
    if source is None:
        return []
    if source.constant is not None:
        return [source.constant]
    texts = [text for cell in _cells(row, source, name) if (text := source.values.get(cell, cell))]
    return texts or ([source.default] if source.default else [])


def read_text(row: Fields, source: From | None, name: str, several: dict[str, str] | None = None) -> str:
    """The text that ``source`` names in ``row``; empty when there is none.

    Of several values ``source.take`` says which; where it does not, ``several`` is told of them.

    Raises:
        RowProblem: what the field holds is no text.
    """
    texts = read_texts(row, source, name)
    if source is None or len(texts) < 2:
        return "".join(texts)
    if source.take is None and name in RUNNING:
        return ", ".join(texts)
    if several is not None and source.take is None:
        several[name] = f"first: {', '.join(texts)[:80]}"
    return _taken(texts, source.take)


def read_values(row: Fields, source: From, name: str, several: dict[str, str]) -> list[str]:
    """The values that ``source`` gives an attribute: all of a list, or as ``source.take`` says.

    Raises:
        RowProblem: what the field holds is no text, or holds more than ``MOST_VALUES`` values.
    """
    texts = read_texts(row, source, name)
    if source.take is not None and len(texts) > 1:
        several[name] = f"{source.take}: {', '.join(texts)[:80]}"
        return [_taken(texts, source.take)]
    if len(texts) > MOST_VALUES:
        raise RowProblem(name, f"{source} holds {len(texts):,} values, more than {MOST_VALUES}")
    return texts


def _taken(texts: list[str], take: str | None) -> str:
    return ", ".join(texts) if take == "join" else texts[-1 if take == "last" else 0]


def required(row: Fields, source: From, name: str, several: dict[str, str] | None = None) -> str:
    """As ``read_text``, of a field that a row must have.

    Raises:
        RowProblem: also where it is missing or empty.
    """
    text = read_text(row, source, name, several)
    if not text:
        empty = [path for path in source.paths() if not look_up(row, path)[1]] or [str(source)]
        raise RowProblem(name, f"{empty[0]} is missing or empty")
    return text


def _cells(row: Fields, source: From, name: str) -> list[str]:
    """What stands in the source's field: one text (perhaps empty), or those of a list."""
    try:
        to_text = text_of if source.raw or name in CODES else _shown
        if source.field is None:
            return [_filled(row, source.template or "")]
        value = look_up(row, source.field)[1]
        if source.take:
            value = opened(value)
        elif name.startswith("attributes."):
            value = _listed(value)
        cells = [to_text(part) for part in value] if isinstance(value, list | tuple) else [to_text(value)]
    except ValueError as error:
        raise RowProblem(name, f"{source} {error}") from None
    if source.separator is not None:
        cells = [part.strip() for cell in cells for part in cell.split(source.separator)]
    return cells if len(cells) == 1 else list(dict.fromkeys(filter(None, cells)))


def _listed(value: Any) -> Any:
    """The list that a cell holds as JSON, where it is one of texts and numbers; else the cell."""
    found = opened(value)
    plain = isinstance(found, list) and not any(isinstance(part, dict | list) for part in found)
    return found if plain else value


def _shown(value: Any) -> str:
    return text_of(plain_text(value) if isinstance(value, str) else value)


def _filled(row: Fields, template: str) -> str:
    parts = []
    for literal, path, _, _ in Formatter().parse(template):
        text = text_of(look_up(row, path)[1]) if path else ""
        if path and not text:
            return ""
        parts.append(literal + text)
    return "".join(parts)
