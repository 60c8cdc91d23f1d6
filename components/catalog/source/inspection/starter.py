"""A mapping file and a profile to start from, with what was seen of every field as comments."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from components.catalog.format.errors import SourceError
from components.catalog.source.inspection.guess import Guess, field_of, guess
from components.catalog.source.inspection.sample import FieldFacts, Folder, look_into
from components.catalog.source.mapping import parse_mapping
from components.catalog.source.reading.separated import USUAL
from components.stage.files.printable import printable

EXAMPLE_CHARS = 40
PRICE_NOTE = "for search --where 'price<50'; but listings learn to state every attribute, a price too"
MOST_FIELDS = 200  # that are described


class Start(NamedTuple):
    """A mapping file and a profile, as texts, and why some fields are in no line of the mapping."""

    mapping: str
    profile: str
    unmapped: dict[str, str]


def inspect(root: Path, name: str) -> Start:
    """What to start from for the folder ``root``; ``name`` is that of the profile.

    Raises:
        SourceError: no table can be read, no field looks like an id, or no row has a picture.
    """
    folder = look_into(root)
    if not any(table.rows for table in folder.tables):
        reason = next(iter(folder.tables[0].problems), "it holds no rows")
        table = root / folder.tables[0].pattern
        raise SourceError(f"no row of {table} can be read: {reason}. Correct the file.")
    found = guess(folder)
    if not found.fields:
        fields = ", ".join(list(found.table.fields)[:20])
        raise SourceError(
            f"no field of {root / found.table.pattern} looks like an id that every row has ({fields}); "
            f"write a mapping yourself (docs/mapping.md)."
        )
    if not found.picture:
        raise SourceError(_no_picture(folder, found))
    text = "\n".join([*_head(folder, found), *_body(found), *_seen(found)]) + "\n"
    parse_mapping(yaml.safe_load(text), f"mapping for {root}")
    return Start(text, _profile(found, name), found.unmapped)


def _no_picture(folder: Folder, found: Guess) -> str:
    where = folder.root / found.table.pattern
    address = next(
        (path for path, facts in found.table.fields.items() if "://" in "".join(facts.examples())), None
    )
    if address:
        return (
            f"field {address!r} of {where} holds URLs, and URLs are never fetched: save the pictures "
            f"in {folder.root}/images as their URLs end (or as `wget -x` does), then inspect again."
        )
    return (
        f"no field of {where} holds a picture or names one of the {len(folder.pictures):,} picture files in "
        f"{folder.root}; every product needs a picture: a catalogue of texts alone cannot be imported."
    )


def _head(folder: Folder, found: Guess) -> list[str]:
    table = found.table
    others = [other.pattern for other in folder.tables if other is not table]
    lines = [
        "Made by `vitrine import --inspect`; every line is a guess. docs/mapping.md explains them.",
        f"Looked at: {len(table.rows):,} rows of {table.pattern}{' (there are more)' if table.more else ''}.",
        f"Pictures in the folder: {len(folder.pictures):,}. Other tables: {', '.join(others[:9]) or 'none'}.",
    ]
    ids = table.fields[found.fields["product_id"]]
    repeated = [value for value, n in ids.values.items() if n > 1]
    if repeated and not found.continues:
        some = ", ".join(map(_short, repeated[:3]))
        lines.append(
            f"Ids that stand in several rows: {len(repeated):,}, such as {some}. The gate sets all aside."
        )
    if table.problems:
        reason, number = table.problems.most_common(1)[0]
        lines.append(f"{number:,} of the rows cannot be read: {reason}.")
    return [_comment(line) for line in lines]


def _body(found: Guess) -> list[str]:
    lines = [_line("products", found.table.pattern)]
    if found.table.encoding != USUAL:
        lines.append(_line("encoding", found.table.encoding) + "   # a guess: the file is not UTF-8")
    lines.append("fields:")
    lines += [f"  {_line(key, source)}{_fill(found, source)}" for key, source in found.fields.items()]
    if found.join:
        lines.append(_line("join", found.join))
    pictures = found.picture.get("path") or found.picture.get("bytes")
    lines.append(f"{_line('image', found.picture)}{_fill(found, pictures)}")
    if found.continues:
        lines.append(f"{_line('continues', found.continues)}  # rows without it belong to the product above")
    prices = {
        n: source for n, source in found.attributes.items() if isinstance(source, dict) and "price" in source
    }
    plain = {name: source for name, source in found.attributes.items() if name not in prices}
    lines.append("attributes:" if plain else "attributes: {}   # no field has few, short values")
    for name, source in plain.items():
        facts = found.table.fields[field_of(source)]
        note = f"; several values in {facts.lists:,} rows" if facts.lists else ""
        lines.append(f"  {_line(name, source)}{_fill(found, source)}{note}")
    for name, source in prices.items():
        lines.append(f"  # {_line(name, source)}   # {PRICE_NOTE}")
    if found.split:
        lines.append(_line("split", found.split))
    if found.group:
        lines.append(f"{_line('group', found.group)}  # products that must not be spread over splits")
    lines += [
        "# Fusion learns from queries. Without a log of your shoppers' (queries, qrels), some are made:"
    ]
    if found.asked and field_of(found.fields["product_type"]):
        lines.append(_line("derive_queries", {"templates": [f"{{{found.asked}}} {{product_type}}"]}))
    else:
        lines.append(
            '# derive_queries: {templates: ["{colour} {product_type}"]}   # needs a type and an attribute'
        )
    return lines


def _seen(found: Guess) -> list[str]:
    rows = len(found.table.rows)
    lines = ["", f"# All fields in {rows:,} rows: how many are filled, different values, examples."]
    for path, facts in list(found.table.fields.items())[:MOST_FIELDS]:
        why = f"; not mapped: {found.unmapped[path]}" if path in found.unmapped else ""
        lines.append(_comment(f"{_short(path)}: {_facts(facts, rows)}{why}"))
    if (more := len(found.table.fields) - MOST_FIELDS) > 0:
        lines.append(f"# and {more:,} other fields")
    return lines


def _facts(facts: FieldFacts, rows: int) -> str:
    if facts.pictures:
        return f"{facts.filled / rows:.0%}, pictures"
    some = " | ".join(map(_short, facts.examples()))
    return f"{facts.filled / rows:.0%}, {len(facts.values):,}{', lists' if facts.lists else ''}, {some}"


def _fill(found: Guess, source: Any) -> str:
    facts = found.table.fields.get(field_of(source))
    if facts is None or (isinstance(source, dict) and source.get("take") == "last"):
        return ""  # the examples are first elements
    return "   " + _comment(
        f"filled {facts.filled / len(found.table.rows):.0%}; " + " | ".join(map(_short, facts.examples()))
    )


def _line(key: str, value: Any) -> str:
    """``key: value`` as YAML on one line."""
    text = yaml.safe_dump({key: value}, default_flow_style=True, allow_unicode=True, width=10**9)
    return text.strip()[1:-1]


def _comment(text: str) -> str:
    return "# " + re.sub(
        r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]", "?", printable(text)
    )


def _short(text: str) -> str:
    return text if len(text) <= EXAMPLE_CHARS else text[: EXAMPLE_CHARS - 1] + "…"


def _profile(found: Guess, name: str) -> str:
    attributes = [found.asked] if found.asked else []
    return "\n".join(
        [
            "# A start for your own catalogue: what differs from conf/own.yaml, which it extends.",
            "# `vitrine params --profile NAME` lists every parameter with its unit and reason.",
            "extends: own",
            _line("listing", {"taught": {"title_attributes": attributes}})
            + "   # of a title, where too few teach what it names",
            _line("report", {"title": f"Vitrine, {name}", "profile": name}),
            "",
        ]
    )
