"""Rows of an XML feed: the items of RSS, the entries of Atom."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from components.catalog.format.errors import SourceError

ITEMS = ("{*}item", "{*}entry")


def feed_rows(file: Path, handle: BinaryIO) -> Iterator[dict[str, Any]]:
    """Yield an object of fields per item, one at a time. ``<g:id>`` is the field ``id``.

    An element that occurs again with another text makes the field a list. Entities of the file's own are not
    resolved, and nothing is fetched.

    Raises:
        SourceError: the file is no XML, or not to its end.
    """
    from lxml import etree

    try:
        found = etree.iterparse(
            handle, tag=ITEMS, resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
        )
        for _, item in found:
            yield _fields(item)
            item.clear()
            while item.getprevious() is not None:  # what is read is not kept in memory
                del item.getparent()[0]
    except etree.XMLSyntaxError as error:
        raise SourceError(f"{file} is not readable XML: {' '.join(str(error).split())[:200]}.") from None


def _fields(item: Any) -> dict[str, Any]:
    texts: dict[str, list[str]] = {}
    for element in item.iterchildren("{*}*"):
        text = "".join(element.itertext()).strip() or element.get("href", "")
        name = element.tag.rsplit("}", 1)[-1]
        if text not in texts.setdefault(name, []):
            texts[name].append(text)
    return {name: found[0] if len(found) == 1 else found for name, found in texts.items()}
