"""Where a row's picture is: a file of the source, or bytes in the row."""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from components.catalog.source.mapping import ImageRule, Mapping
from components.catalog.source.values.paths import Fields, look_up
from components.catalog.source.values.texts import RowProblem, read_texts

_DATA_URI = re.compile(r"\s*data:[^,]{0,200};base64,", re.IGNORECASE)
_STANDARD = str.maketrans("-_", "+/")  # from the alphabet for URLs
_URL = re.compile(r"(?:https?:)?//", re.IGNORECASE)


def is_file(path: Path) -> bool:
    """Whether a file lies there; a name that no file system takes is none."""
    try:
        return path.is_file()
    except OSError:  # such as a name of more than 255 bytes
        return False


class ProductPictures(NamedTuple):
    """A main picture and further ones, each a path below the source's folder or bytes.

    ``pictures_left`` counts what the row names besides and what does not exist; ``url`` is what the main one
    was named by, if by one.
    """

    image: str | bytes
    more_images: list[str | bytes]
    pictures_left: int
    url: str = ""


def pictures(row: Fields, mapping: Mapping, root: Path) -> ProductPictures:
    """A row's pictures: those that exist below ``root``; where none does, the first.

    Raises:
        RowProblem: the row names no picture, or one outside the folder; or only URLs, which nobody fetches.
    """
    rule = mapping.image
    sources = rule.named()
    if not sources:
        return _bytes(row, rule.bytes or "", rule.most)
    names = list(dict.fromkeys(name for source in sources for name in read_texts(row, source, "image")))
    if not names:
        raise RowProblem("image", f"{sources[0]} is missing or empty")
    places = [(name, list(_places(name, rule))) for name in names]
    first = names[0], places[0][1][0]
    found = [first]
    if sum(len(inside) for _, inside in places) > 1:
        existing = ((n, next((p for p in inside if is_file(root / p)), None)) for n, inside in places)
        found = [(name, place) for name, place in existing if place is not None] or [first]
        if found == [first] and not is_file(root / first[1]) and (known := names_of_url(first[0])):
            raise RowProblem(
                "image",
                f"{first[0][:80]!r} is a URL, and URLs are never fetched: "
                f"put the picture into {rule.folder} as {known[-1]!r}",
            )
    kept = list(dict.fromkeys(place for _, place in found))[: rule.most]
    url = found[0][0] if names_of_url(found[0][0]) else ""
    return ProductPictures(kept[0], [*kept[1:]], len(names) - len(kept), url)


def names_of_url(text: str) -> list[str]:
    """What the file of a URL may be called: host and path as ``wget -x`` writes it, and its last part.

    Empty where the text is no URL.
    """
    if not _URL.match(text):
        return []
    try:
        parts = urlsplit(text)
    except ValueError:  # such as a bracket that is not closed
        return []
    path = unquote(parts.path)
    return [f"{parts.netloc}{path}", PurePosixPath(path).name]


def _places(name: str, rule: ImageRule) -> Iterator[str]:
    """Where a file of this name may lie; that of a URL as ``wget -x`` writes it, or under its last part."""
    for inside in names_of_url(name) or [name]:
        path = PurePosixPath(inside)
        if path.is_absolute() or ".." in path.parts or "\\" in inside:
            raise RowProblem("image", f"{name[:80]!r} leads outside the folder of images")
        place = str(PurePosixPath(rule.folder) / path)
        # A file system keeps the form of Unicode that a name was written in; macOS writes the other one.
        yield from dict.fromkeys((place, unicodedata.normalize("NFD", place)))


def _bytes(row: Fields, field: str, most: int) -> ProductPictures:
    value = look_up(row, field)[1]
    named = value if isinstance(value, list) else [value]
    found: list[str | bytes] = []
    for one in named:
        try:
            data = _decoded(one, field)
        except RowProblem:
            if not found:  # the main picture, without which there is no product
                raise
            continue
        if data and data not in found and len(found) < most:
            found.append(data)
    if not found:
        raise RowProblem("image", f"{field} holds no picture")
    return ProductPictures(found[0], found[1:], len(named) - len(found))


def _of_base64(text: str) -> bytes:
    """Bytes of base64 in either alphabet (RFC 4648), with or without padding and line breaks."""
    code = "".join(_DATA_URI.sub("", text, count=1).split()).translate(_STANDARD).rstrip("=")
    return base64.b64decode(code + "=" * (-len(code) % 4), validate=True)


def _decoded(value: object, field: str) -> bytes | None:
    if isinstance(value, dict):
        value = value.get("bytes")
    if isinstance(value, str):
        try:
            value = _of_base64(value)
        except (binascii.Error, ValueError):
            raise RowProblem("image", f"{field} is not base64") from None
    return value if isinstance(value, bytes) else None
