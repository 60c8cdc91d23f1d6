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


class Picture(NamedTuple):
    """A path below the source's folder or bytes; how many others the row names; the URL it was named by."""

    image: str | bytes
    others: int
    url: str = ""


def picture(row: Fields, mapping: Mapping, root: Path | None) -> Picture:
    """A row's main picture: the first that exists below ``root``; where none does, or without it, the first.

    Raises:
        RowProblem: the row names no picture, or one outside the folder; or only URLs, which nobody fetches.
    """
    rule = mapping.image
    source = rule.named()
    if source is None:
        return _bytes(row, rule.bytes or "")
    names = list(dict.fromkeys(read_texts(row, source, "image")))
    if not names:
        raise RowProblem("image", f"{source} is missing or empty")
    places = [(name, place) for name in names for place in _places(name, rule)]
    name, place = places[0]
    if len(places) > 1 and root is not None:
        existing = next((pair for pair in places if is_file(root / pair[1])), None)
        name, place = existing or places[0]
        if existing is None and (known := names_of_url(name)):
            raise RowProblem(
                "image",
                f"{name[:80]!r} is a URL, and URLs are never fetched: "
                f"put the picture into {rule.folder} as {known[-1]!r}",
            )
    return Picture(place, len(names) - 1, name if names_of_url(name) else "")


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


def _bytes(row: Fields, field: str) -> Picture:
    value = look_up(row, field)[1]
    found = value if isinstance(value, list) else [value]
    for number, one in enumerate(found, 1):
        data = _decoded(one, field)
        if data:
            return Picture(data, len(found) - number)
    raise RowProblem("image", f"{field} holds no picture")


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
