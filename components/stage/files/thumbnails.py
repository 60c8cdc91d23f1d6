"""Small pictures inside a page: shrunk, encoded, and written as a data URI, so a page stays one file."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from PIL import Image


class Thumbnail(NamedTuple):
    """A small picture; width and height in pixels."""

    uri: str
    width: int
    height: int


def thumbnail(
    picture: Image.Image, longest_px: int, quality: int, form: Literal["jpeg", "webp"] = "jpeg"
) -> Thumbnail:
    """Shrink a decoded RGB picture so that no side is over ``longest_px`` (never enlarge), and encode it.

    The same pixels give the same bytes.
    """
    from PIL import Image

    small = picture.copy()
    small.thumbnail((longest_px, longest_px), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    options = {"optimize": True} if form == "jpeg" else {"method": 2}
    small.save(buffer, form, quality=quality, **options)
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Thumbnail(f"data:image/{form};base64,{encoded}", small.width, small.height)
