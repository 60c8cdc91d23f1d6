"""Rows that are no product of their own: they continue the one above, or are left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from components.catalog.source.mapping import Mapping
from components.catalog.source.reading.rows import SourceRow
from components.catalog.source.values.paths import Fields, look_up
from components.catalog.source.values.texts import text_of

MAX_VALUES = 100  # of one field, from the rows that continue a product


class SkippedRow(NamedTuple):
    """Why a row is neither a product nor set aside as bad."""

    reason: str


Placed = tuple[str, SourceRow]
Outcome = tuple[str, SourceRow, SkippedRow | None]


def whole_products(rows: Iterable[Placed], mapping: Mapping) -> Iterator[Outcome]:
    """Yield (file, row, None or why it is left out), in order; rows that continue a product are in its own.

    What they add: pictures, and values of attributes and of texts that have ``take`` in the mapping. A row
    without the field ``continues`` and with no product above, or another id than that one's, gets a problem.
    """
    above: Placed | None = None
    behind: list[Outcome] = []  # rows that continue ``above``
    gathered = _gathered(mapping)
    for file, row in rows:
        if _without(row, mapping.skip_where_empty):
            yield file, row, SkippedRow(f"{mapping.skip_where_empty} is empty")
            continue
        if _without(row, mapping.continues):
            problem = _no_continuation(above, file, row, mapping)
            if above is not None and not problem:
                _add(above[1].fields, row.fields, gathered)
                behind.append((file, row._replace(fields={}), SkippedRow("it continues the product above")))
                continue
            row = row._replace(problem=problem)
        if above is not None:
            yield above[0], above[1], None
        yield from behind
        above, behind = None, []
        if row.problem or not mapping.continues:
            yield file, row, None
        else:
            above = file, row._replace(fields=dict(row.fields))
    if above is not None:
        yield above[0], above[1], None
    yield from behind


def _gathered(mapping: Mapping) -> list[str]:
    """Fields that take values of continuing rows, by their own names."""
    texts = [source for source in mapping.fields.__dict__.values() if source is not None and source.take]
    sources = [*texts, *mapping.attributes.values(), *mapping.image.named()]
    taken = [path for source in sources for path in source.paths()]
    return list(dict.fromkeys([*taken, *filter(None, [mapping.image.bytes])]))


def _without(row: SourceRow, path: str | None) -> bool:
    return path is not None and not row.problem and _empty(row.fields, path)


def _empty(fields: Fields, path: str) -> bool:
    try:
        return not text_of(look_up(fields, path)[1])
    except ValueError:
        return False


def _no_continuation(above: Placed | None, file: str, row: SourceRow, mapping: Mapping) -> str:
    if above is None or above[0] != file:
        return f"{mapping.continues} is empty, and no product stands above"
    ids = mapping.fields.product_id.paths()
    for path in ids:
        if not _empty(row.fields, path) and look_up(row.fields, path)[1] != _first(above[1].fields, path):
            return f"{mapping.continues} is empty, and {path} is not that of the product above"
    return ""


def _first(fields: Fields, path: str) -> Any:
    value = look_up(fields, path)[1]
    return value[0] if isinstance(value, list) and value else value


def _add(to: Fields, row: Fields, paths: list[str]) -> None:
    for path in paths:
        if path in to and not _empty(row, path):
            held = to[path] if isinstance(to[path], list) else [to[path]]
            if len(held) < MAX_VALUES and row[path] not in held:
                to[path] = [*filter(None, held), row[path]]
