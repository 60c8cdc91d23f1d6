"""Look at the shop: many of its pictures on one sheet, and the listing behind each one."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw

from components.catalog.format.records import Product, Truth
from components.stage.files.pages import render_page
from components.stage.files.publish import published, write_text

_GAP_PX = 4
_TEMPLATE = Path(__file__).with_name("contact_sheet.jinja")


def contact_sheet(items: Iterable[tuple[Product, Truth]], columns: int, boxes: bool) -> Image.Image:
    """The pictures of ``items`` in rows of ``columns``; ``boxes`` outlines each product's true place."""
    pictures = [_outlined(product, truth) if boxes else _decoded(product) for product, truth in items]
    side = max((picture.width for picture in pictures), default=1) + _GAP_PX
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * side + _GAP_PX, rows * side + _GAP_PX), (250, 250, 250))
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        sheet.paste(picture, (column * side + _GAP_PX, row * side + _GAP_PX))
    return sheet


def _decoded(product: Product) -> Image.Image:
    return Image.open(BytesIO(product.image)).convert("RGB")


def _outlined(product: Product, truth: Truth) -> Image.Image:
    picture = _decoded(product)
    if truth.box is not None:
        x0, y0, x1, y1 = (value * picture.width for value in truth.box)
        ImageDraw.Draw(picture).rectangle((x0, y0, x1 - 1, y1 - 1), outline=(255, 0, 60))
    return picture


def save_sheet(sheet: Image.Image, path: Path) -> None:
    """Write a sheet as PNG, whole or not at all."""
    with published(path) as temporary, temporary.open("wb") as handle:
        sheet.save(handle, "PNG")


def save_page(items: Iterable[tuple[Product, Truth]], path: Path) -> None:
    """Write a self-contained HTML page of pictures with their clean listings."""
    cards = [(product, truth, b64encode(product.image).decode("ascii")) for product, truth in items]
    write_text(path, render_page(_TEMPLATE, cards=cards))
