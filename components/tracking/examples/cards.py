"""An example as one picture, made for the 256 pixels of MLflow's image grid: question above, answer below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.tracking.compare.gallery import Example, SideAnswer

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont
    from PIL.Image import Image

WIDE = 400
MARGIN, GAP = 10, 6
LARGE, SMALL = 24, 18  # px of the text
SHOWN = 3  # products of a ranking
FACTS = 9  # values of a listing
PHOTO = 150
INK, SOFT, GROUND = "#1d1b18", "#5f5a52", "#ffffff"
RIGHT, WRONG, RULE = "#14703f", "#a8341b", "#d9d4ca"
TRUE_BOX, SAID_BOX = "#14703f", "#c2410c"
Box = Sequence[float]  # x0, y0, x1, y1 as fractions


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
    sheet = _Sheet()
    sheet.text(example.asked, LARGE, lines=2)
    sheet.text(f"{figure} {ours.value:.2f}", SMALL, SOFT)
    if ours.found:
        _ranking(sheet, ours, pictures)
    else:
        _listing(sheet, ours, pictures.get(example.product))
    return sheet.cut()


def box_card(found: Boxes, figure: str, picture: Image | None) -> Image:
    """A picture with the true box (a line) and the box that the system drew (dashes)."""
    sheet = _Sheet()
    sheet.text(found.asked, LARGE, lines=2)
    sheet.text(f"{figure} {found.value:.2f}; line: true, dashes: said", SMALL, SOFT)
    if picture is not None:
        side = WIDE - 2 * MARGIN
        place = (MARGIN, sheet.at)
        shown = picture.resize((side, round(side * picture.height / picture.width)))
        sheet.paste(shown, place)
        for box, colour, dash in ((found.true, TRUE_BOX, 0), (found.said, SAID_BOX, 14)):
            x0, y0, x1, y1 = (round(v * s) for v, s in zip(box, shown.size * 2, strict=True))
            _frame(sheet.draw, (place[0] + x0, place[1] + y0, place[0] + x1, place[1] + y1), colour, dash)
        sheet.at += shown.height + GAP
    return sheet.cut()


class _Sheet:
    """A white sheet that is written on from its top; ``at`` is where the next line goes."""

    def __init__(self) -> None:
        from PIL import Image, ImageDraw

        self.image = Image.new("RGB", (WIDE, 1200), GROUND)
        self.draw = ImageDraw.Draw(self.image)
        self.at = MARGIN

    def paste(self, picture: Image, place: tuple[int, int]) -> None:
        """Put a picture with its top left corner at ``place``, in pixels."""
        self.image.paste(picture, place)

    def text(self, words: str, size: int, colour: str = INK, *, left: int = MARGIN, lines: int = 1) -> None:
        """Write a text, cut after so many lines."""
        font = _font(size)
        for line in _wrapped(words, font, WIDE - MARGIN - left, lines):
            self.draw.text((left, self.at), line, colour, font)
            self.at += round(size * 1.25)

    def cut(self) -> Image:
        """The sheet without what was not written on."""
        return self.image.crop((0, 0, WIDE, min(self.at + MARGIN, self.image.height)))


def _ranking(sheet: _Sheet, answer: SideAnswer, pictures: Mapping[str, Image]) -> None:
    side = (WIDE - 2 * MARGIN - (SHOWN - 1) * GAP) // SHOWN
    for place, (product, right) in enumerate(answer.found[:SHOWN]):
        x, y = MARGIN + place * (side + GAP), sheet.at
        if (picture := pictures.get(product)) is not None:
            shown = picture.copy()
            shown.thumbnail((side, side))
            sheet.paste(shown, (x + (side - shown.width) // 2, y + (side - shown.height) // 2))
        frame = (x, y, x + side - 1, y + side - 1)
        sheet.draw.rectangle(frame, outline=RIGHT if right else RULE, width=6 if right else 2)
        if right:
            _tick(sheet.draw, x + side - 30, y + 8)
    sheet.at += side + GAP


def _listing(sheet: _Sheet, answer: SideAnswer, picture: Image | None) -> None:
    top, left = sheet.at, MARGIN + PHOTO + 2 * GAP
    if picture is not None:
        shown = picture.copy()
        shown.thumbnail((PHOTO, PHOTO))
        sheet.paste(shown, (MARGIN, top))
    sheet.text(answer.title or "(no title)", SMALL, left=left, lines=3)
    for name, value, right in answer.attributes[:FACTS]:
        y = sheet.at
        sheet.text(f"{name.replace('_', ' ')}: {value}", SMALL, RIGHT if right else WRONG, left=left + 22)
        (_tick if right else _cross)(sheet.draw, left, y + 3)
    sheet.at = max(sheet.at, top + PHOTO + GAP)


def _tick(draw: ImageDraw.ImageDraw, x: int, y: int) -> None:
    draw.line([(x, y + 8), (x + 5, y + 14), (x + 16, y)], RIGHT, 4)


def _cross(draw: ImageDraw.ImageDraw, x: int, y: int) -> None:
    draw.line([(x + 2, y + 1), (x + 14, y + 13)], WRONG, 3)
    draw.line([(x + 2, y + 13), (x + 14, y + 1)], WRONG, 3)


def _frame(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], colour: str, dash: int) -> None:
    x0, y0, x1, y1 = box
    if x1 <= x0 or y1 <= y0:
        return
    if not dash:
        draw.rectangle(box, outline=colour, width=4)
        return
    for x in range(x0, x1, 2 * dash):
        for y in (y0, y1):
            draw.line([(x, y), (min(x + dash, x1), y)], colour, 4)
    for y in range(y0, y1, 2 * dash):
        for x in (x0, x1):
            draw.line([(x, y), (x, min(y + dash, y1))], colour, 4)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _wrapped(
    words: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, wide: int, lines: int
) -> list[str]:
    """The text in at most ``lines`` lines of ``wide`` pixels; what is cut ends with an ellipsis."""
    made: list[str] = [""]
    left = words.split()
    while left:
        grown = f"{made[-1]} {left[0]}".strip()
        if font.getlength(grown) <= wide:
            made[-1] = grown
            left.pop(0)
        elif made[-1] and len(made) < lines:
            made.append("")
        else:
            made[-1] = _cut(grown, font, wide)
            break
    return made


def _cut(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, wide: int) -> str:
    while text and font.getlength(f"{text}…") > wide:
        text = text[:-1]
    return f"{text.rstrip()}…"
