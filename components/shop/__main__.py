"""Look at the shop that params.yaml describes: ``python -m components.shop OUT.png [OUT.html ...]``.

Nothing of the graph is touched. An output's ending says what is made: a contact sheet (.png) or a page with
listings (.html).
"""

from __future__ import annotations

import argparse
import sys
from base64 import b64encode
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw

from components.catalog.format.records import Product, Truth
from components.shop.errors import ShopError
from components.shop.params import ShopParams
from components.shop.shop import Shop
from components.stage.arguments import Parser
from components.stage.errors import VitrineError
from components.stage.files.pages import render_page
from components.stage.files.publish import published, write_text
from components.stage.params import load_params

GAP_PX = 4
TEMPLATE = Path(__file__).with_name("contact_sheet.jinja")


def contact_sheet(items: Iterable[tuple[Product, Truth]], columns: int, boxes: bool) -> Image.Image:
    """The pictures of ``items`` in rows of ``columns``; ``boxes`` outlines each product's true place."""
    pictures = [_decoded(product, truth if boxes else None) for product, truth in items]
    side = max((picture.width for picture in pictures), default=1) + GAP_PX
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * side + GAP_PX, rows * side + GAP_PX), (250, 250, 250))
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        sheet.paste(picture, (column * side + GAP_PX, row * side + GAP_PX))
    return sheet


def _decoded(product: Product, outlined: Truth | None) -> Image.Image:
    picture = Image.open(BytesIO(product.image)).convert("RGB")
    if outlined and (box := outlined.box):
        x0, y0, x1, y1 = (value * picture.width for value in box)
        ImageDraw.Draw(picture).rectangle((x0, y0, x1 - 1, y1 - 1), outline=(255, 0, 60))
    return picture


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="python -m components.shop", description=__doc__)
    parser.add_argument("outputs", nargs="+", type=Path, help="OUT.png and/or OUT.html")
    parser.add_argument("--count", type=int, default=96, help="how many products (default 96)")
    parser.add_argument("--columns", type=int, default=12, help="pictures in a row of the sheet (default 12)")
    parser.add_argument("--boxes", action="store_true", help="outline the true place of each product")
    parser.add_argument("--type", dest="product_type", help="only products of this type")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    """Write each output and return the exit code."""
    arguments = _arguments(argv)
    try:
        shop = Shop(load_params("shop", ShopParams))
        items = list(shop.sample(arguments.count, arguments.product_type))
        for output in arguments.outputs:
            if output.suffix == ".html":
                cards = [
                    (product, truth, b64encode(product.image).decode("ascii")) for product, truth in items
                ]
                write_text(output, render_page(TEMPLATE, cards=cards))
            elif output.suffix == ".png":
                sheet = contact_sheet(items, arguments.columns, arguments.boxes)
                with published(output) as temporary, temporary.open("wb") as handle:
                    sheet.save(handle, "PNG")
            else:
                raise ShopError(f"{output}: only .png and .html can be written.")
            print(output)
    except VitrineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
