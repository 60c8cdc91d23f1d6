"""Rows of JSON (RFC 8259): objects on lines of their own, over many lines, or in an array."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from components.catalog.source.reading.row import FIELD_LIMIT, SourceRow, composed, twice

MAX_DEPTH = 64  # of lists and objects in each other; deeper ones end Python's own stack
# A string ends at its quote or, where that is missing, at the end of its line.
_TOKENS = re.compile(rb'"(?:[^"\\\n]|\\.)*(?:"|\n|\Z)|[{}\[\]]', re.DOTALL)


def json_rows(handle: BinaryIO, *, lines: bool) -> Iterator[SourceRow]:
    """Yield rows; ``lines`` says that the file's name promises one on each line.

    A row that is not JSON is yielded with its problem. Of one object that holds a single list of objects,
    as shops export ``{"products": [...]}``, those are the rows.
    """
    first = _first_line(handle)
    whole = not lines and not handle.read(1)
    handle.seek(0)
    if not whole and not _goes_on(first, lines):
        yield from _of_lines(handle)
        return
    texts = _elements(handle)
    rows = [SourceRow(number, *parsed(text)) for number, text in zip((1, 2), texts, strict=False)]
    if len(rows) == 1 and (inner := _only_list(rows[0].fields)):
        yield from (SourceRow(number, *_fields(element)) for number, element in enumerate(inner, 1))
        return
    yield from rows
    yield from (SourceRow(number, *parsed(text)) for number, text in enumerate(texts, 3))


def parsed(text: bytes) -> tuple[dict[str, Any], str]:
    """The object that a text is, and an empty phrase; or nothing, and why it is none."""
    try:
        return _fields(read_json(text))
    except ValueError as error:
        return {}, str(error)


def _fields(value: Any) -> tuple[dict[str, Any], str]:
    return (value, "") if isinstance(value, dict) else ({}, "is JSON, but not an object of fields")


def read_json(text: bytes | str) -> Any:
    """The value of a text, with the names of fields in Unicode's composed form.

    Raises:
        ValueError: it is not JSON, too deep, or names a field of an object twice; the message is a phrase.
    """
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    try:
        if data.count(b"[") + data.count(b"{") > MAX_DEPTH and _depth(data) > MAX_DEPTH:
            raise ValueError(f"is nested more than {MAX_DEPTH} levels deep")
        return json.loads(text, object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise ValueError(f"holds byte 0x{byte:02x}, which is not UTF-8; save the file as UTF-8") from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"is not JSON ({str(error)[:80]})") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [composed(name) for name, _ in pairs]
    if double := twice(names):
        raise ValueError(f"is not JSON of one meaning (two fields are named {double[:40]!r})")
    return dict(zip(names, (value for _, value in pairs), strict=True))


def _only_list(fields: dict[str, Any]) -> list[Any] | None:
    lists = [v for v in fields.values() if isinstance(v, list) and v and isinstance(v[0], dict)]
    alone = len(lists) == 1 and not any(isinstance(value, dict) for value in fields.values())
    return lists[0] if alone and len(fields) <= 3 else None


def _first_line(handle: BinaryIO) -> bytes:
    for line in iter(lambda: handle.readline(FIELD_LIMIT), b""):
        if line.strip():
            return line.strip().removeprefix(b"\xef\xbb\xbf")
    return b""


def _goes_on(first: bytes, lines: bool) -> bool:
    """Whether a file that begins with this line holds rows over several lines, or an array."""
    if first.startswith(b"[") or first == b"{":
        return True
    return not lines and bool(parsed(first)[1])


def _of_lines(handle: BinaryIO) -> Iterator[SourceRow]:
    for number, line in enumerate(iter(lambda: handle.readline(FIELD_LIMIT), b""), 1):
        if len(line) == FIELD_LIMIT and not line.endswith(b"\n"):
            rest = iter(lambda: handle.readline(FIELD_LIMIT), b"")
            next((part for part in rest if part.endswith(b"\n")), None)
            yield SourceRow(number, {}, f"is longer than {FIELD_LIMIT:,} bytes")
        elif line.strip():
            yield SourceRow(number, *parsed(line))


def _elements(handle: BinaryIO) -> Iterator[bytes]:
    """Texts of the objects of an array, or of objects behind each other, found by their brackets.

    An element that is not JSON does not hide those after it, unless its own brackets do.
    """
    text, depth, last, inside = bytearray(), 0, 0, 0
    for line in iter(lambda: handle.readline(FIELD_LIMIT), b""):
        position = len(text)
        text += line
        for token in _TOKENS.finditer(text, position):
            sign, start = token.group(), token.start()
            if sign in (b"{", b"["):
                if depth == 0:
                    yield from _bare(text[last:start])
                    last = token.end()
                    if sign == b"[":
                        continue  # the array itself
                    inside = start
                depth += 1
            elif sign in (b"}", b"]") and depth:
                depth -= 1
                if depth == 0:
                    last = token.end()
                    yield bytes(text[inside:last])
        if depth == 0:
            yield from _bare(text[last:])
            inside = len(text)
        del text[:inside]
        last = inside = 0
    if text.strip():
        yield bytes(text)


def _bare(text: bytes | bytearray) -> Iterator[bytes]:
    """What stands between objects and is more than the signs of an array: each such element."""
    parts = (part.strip(b" \t\r\n[]\xef\xbb\xbf") for part in bytes(text).split(b","))
    yield from (part for part in parts if part)


def _depth(data: bytes) -> int:
    deepest = depth = 0
    for token in _TOKENS.finditer(data):
        depth += {b"{": 1, b"[": 1, b"}": -1, b"]": -1}.get(token.group(), 0)
        deepest = max(deepest, depth)
    return deepest
