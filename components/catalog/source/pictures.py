"""Where a row's picture is: a file of the source, or bytes in the row."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from components.catalog.source.mapping import ImageRule, Mapping
from components.catalog.source.paths import Fields, look_up
from components.catalog.source.texts import RowProblem, read_texts

_URL = re.compile(r"(?:https?:)?//", re.IGNORECASE)


def is_file(path: Path) -> bool:
    """Whether a file lies there; a name that no file system takes is none."""
    try:
        return path.is_file()
    except OSError:  # such as a name of more than 255 bytes
        return False


def picture(row: Fields, mapping: Mapping, root: Path | None) -> tuple[str | bytes, int]:
    """The path below ``root``, or the bytes, of a row's main picture, and how many others it names.

    The main picture is the first that exists; where none does, or ``root`` is None, the first.

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
    places = [place for name in names for place in _places(name, rule)]
    if len(places) == 1 or root is None:
        return places[0], len(names) - 1
    for place in places:
        if is_file(root / place):
            return place, len(names) - 1
    if _URL.match(names[0]):
        raise RowProblem(
            "image",
            f"{names[0][:80]!r} is a URL, and URLs are never fetched: "
            f"put the picture into {rule.folder} as {PurePosixPath(places[-1]).name!r}",
        )
    return places[0], len(names) - 1


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
        yield str(PurePosixPath(rule.folder) / path)


def _bytes(row: Fields, field: str) -> tuple[bytes, int]:
    value = look_up(row, field)[1]
    found = value if isinstance(value, list) else [value]
    for number, one in enumerate(found, 1):
        data = _decoded(one, field)
        if data:
            return data, len(found) - number
    raise RowProblem("image", f"{field} holds no picture")


def _decoded(value: object, field: str) -> bytes | None:
    if isinstance(value, dict):
        value = value.get("bytes")
    if isinstance(value, str):
        try:
            value = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise RowProblem("image", f"{field} is not base64") from None
    return value if isinstance(value, bytes) else None
