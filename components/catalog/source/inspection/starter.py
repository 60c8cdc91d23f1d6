"""A mapping file and a profile to start from, with what was seen of every field as comments."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from jinja2 import Environment, FileSystemLoader

from components.catalog.format.errors import SourceError
from components.catalog.source.inspection.guess import Guess, field_of, guess
from components.catalog.source.inspection.sample import FieldFacts, Folder, look_into
from components.catalog.source.mapping import parse_mapping
from components.stage.files.printable import printable

EXAMPLE_CHARS = 40
MOST_FIELDS = 200  # that are described
_UNSEEN = re.compile(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


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
    text = _mapping(folder, found)
    parse_mapping(yaml.safe_load(text), f"mapping for {root}")
    return Start(text, _rendered("profile", found=found, name=name), found.unmapped)


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


def _rendered(template: str, **context: object) -> str:
    """A text of the template of that name beside this module."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"thousands": "{:,}".format, "seen": _seen, "short": _short}
    return environment.get_template(f"{template}.jinja").render(**context, line=_line)


def _mapping(folder: Folder, found: Guess) -> str:
    ids = found.table.fields[found.fields["product_id"]]
    prices = {
        n: source
        for n, source in found.attributes.items()
        if isinstance(source, dict) and source.get("price")
    }
    return _rendered(
        "mapping",
        folder=folder,
        found=found,
        others=[other.pattern for other in folder.tables if other is not found.table],
        repeated=[value for value, n in ids.values.items() if n > 1],
        prices=prices,
        plain={name: source for name, source in found.attributes.items() if name not in prices},
        fill=partial(_fill, found),
        described=partial(_facts, rows=len(found.table.rows)),
        field_of=field_of,
        most_fields=MOST_FIELDS,
    )


def _facts(facts: FieldFacts, rows: int) -> str:
    if facts.pictures:
        return f"{facts.filled / rows:.0%}, pictures"
    some = " | ".join(map(_short, facts.examples()))
    return f"{facts.filled / rows:.0%}, {len(facts.values):,}{', lists' if facts.lists else ''}, {some}"


def _fill(found: Guess, source: Any) -> str:
    facts = found.table.fields.get(field_of(source))
    if facts is None or (isinstance(source, dict) and source.get("take") == "last"):
        return ""  # the examples are first elements
    some = " | ".join(map(_short, facts.examples()))
    return f"   # filled {facts.filled / len(found.table.rows):.0%}; {_seen(some)}"


def _line(key: str, value: Any) -> str:
    """``key: value`` as YAML on one line."""
    text = yaml.safe_dump({key: value}, default_flow_style=True, allow_unicode=True, width=10**9)
    return text.strip()[1:-1]


def _seen(text: str) -> str:
    """What a comment may hold of a text of others."""
    return _UNSEEN.sub("?", printable(text))


def _short(text: str) -> str:
    return text if len(text) <= EXAMPLE_CHARS else text[: EXAMPLE_CHARS - 1] + "…"
