"""An example as one picture, made for the 256 pixels of MLflow's image grid: question above, answer below."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.tracking.compare.gallery import Example

if TYPE_CHECKING:
    from PIL import ImageDraw
    from PIL.Image import Image

WIDE, HIGH = 400, 1200
MARGIN, GAP = 10, 6
LARGE, SMALL = 24, 18  # px of the text
SHOWN = 3  # products of a ranking
FACTS = 9  # values of a listing
PHOTO = 150
INK, SOFT, GROUND = "#1d1b18", "#5f5a52", "#ffffff"
RIGHT, WRONG, RULE = "#14703f", "#a8341b", "#d9d4ca"
TRUE_BOX, SAID_BOX = "#14703f", "#c2410c"
DASH = 14
Box = Sequence[float]  # x0, y0, x1, y1 as fractions
Corners = tuple[int, int, int, int]  # the same in pixels


@dataclass(frozen=True)
class Boxes:
    """Where a product is in its picture, and where a system says that it is."""

    product: str
    asked: str
    value: float
    true: Box
    said: Box


def card(example: Example, figure: str, pictures: Mapping[str, Image]) -> Image:
    """A query with the first products found, or a photo with the listing written for it."""
    ours = example.answers[1]
    sheet = _Sheet(example.asked, f"{figure} {ours.value:.2f}")
    if ours.found:
        side = (WIDE - 2 * MARGIN - (SHOWN - 1) * GAP) // SHOWN
        for place, (product, right) in enumerate(ours.found[:SHOWN]):
            x, y = MARGIN + place * (side + GAP), sheet.at
            sheet.paste(pictures.get(product), (x, y, side))
            frame = (x, y, x + side - 1, y + side - 1)
            sheet.draw.rectangle(frame, outline=RIGHT if right else RULE, width=6 if right else 2)
            if right:
                _tick(sheet.draw, x + side - 30, y + 8)
        sheet.at += side + GAP
        return sheet.cut()
    top, left = sheet.at, MARGIN + PHOTO + 2 * GAP
    sheet.paste(pictures.get(example.product), (MARGIN, top, PHOTO))
    sheet.text(ours.title or "(no title)", SMALL, left=left, lines=3)
    for name, value, right in ours.attributes[:FACTS]:
        (_tick if right else _cross)(sheet.draw, left, sheet.at + 3)
        sheet.text(f"{name.replace('_', ' ')}: {value}", SMALL, RIGHT if right else WRONG, left=left + 22)
    sheet.at = max(sheet.at, top + PHOTO + GAP)
    return sheet.cut()


def box_card(found: Boxes, figure: str, picture: Image | None) -> Image:
    """A picture with the true box (a line) and the box that the system drew (dashes)."""
    sheet = _Sheet(found.asked, f"{figure} {found.value:.2f}; line: true, dashes: said")
    if picture is not None:
        side = WIDE - 2 * MARGIN
        shown = picture.resize((side, round(side * picture.height / picture.width)))
        sheet.image.paste(shown, (MARGIN, sheet.at))
        for box, colour, dash in ((found.true, TRUE_BOX, 0), (found.said, SAID_BOX, DASH)):
            x0, y0, x1, y1 = (round(v * s) for v, s in zip(box, shown.size * 2, strict=True))
            corners = (MARGIN + x0, sheet.at + y0, MARGIN + x1, sheet.at + y1)
            if x1 > x0 and y1 > y0:
                _frame(sheet.draw, corners, colour, dash)
        sheet.at += shown.height + GAP
    return sheet.cut()


class _Sheet:
    """A white sheet that is written on from its top; ``at`` is where the next line goes."""

    def __init__(self, asked: str, told: str) -> None:
        from PIL import Image, ImageDraw

        self.image = Image.new("RGB", (WIDE, HIGH), GROUND)
        self.draw = ImageDraw.Draw(self.image)
        self.at = MARGIN
        self.text(asked, LARGE, lines=2)
        self.text(told, SMALL, SOFT)

    def paste(self, picture: Image | None, place: tuple[int, int, int]) -> None:
        """Shrink a picture into the middle of a square: its left, its top, its side, in pixels."""
        x, y, side = place
        if picture is not None:
            shown = picture.copy()
            shown.thumbnail((side, side))
            self.image.paste(shown, (x + (side - shown.width) // 2, y + (side - shown.height) // 2))

    def text(self, words: str, size: int, colour: str = INK, *, left: int = MARGIN, lines: int = 1) -> None:
        """Write a text in at most so many lines; what is cut ends with an ellipsis."""
        from PIL import ImageFont

        font = ImageFont.load_default(size)
        letters = int((WIDE - MARGIN - left) / (size * 0.55))  # as many as fit of the usual width
        for line in textwrap.wrap(words, letters, max_lines=lines, placeholder="…"):
            self.draw.text((left, self.at), line, colour, font)
            self.at += round(size * 1.25)

    def cut(self) -> Image:
        """The sheet without what was not written on."""
        return self.image.crop((0, 0, WIDE, min(self.at + MARGIN, HIGH)))


def _tick(draw: ImageDraw.ImageDraw, x: int, y: int) -> None:
    draw.line([(x, y + 8), (x + 5, y + 14), (x + 16, y)], RIGHT, 4)


def _cross(draw: ImageDraw.ImageDraw, x: int, y: int) -> None:
    draw.line([(x + 2, y + 1), (x + 14, y + 13)], WRONG, 3)
    draw.line([(x + 2, y + 13), (x + 14, y + 1)], WRONG, 3)


def _frame(draw: ImageDraw.ImageDraw, corners: Corners, colour: str, dash: int) -> None:
    """A rectangle, drawn in dashes of so many pixels, or whole (0)."""
    x0, y0, x1, y1 = corners
    if not dash:
        draw.rectangle(corners, outline=colour, width=4)
        return
    for x in range(x0, x1, 2 * dash):
        for y in (y0, y1):
            draw.line([(x, y), (min(x + dash, x1), y)], colour, 4)
    for y in range(y0, y1, 2 * dash):
        for x in (x0, x1):
            draw.line([(x, y), (x, min(y + dash, y1))], colour, 4)
