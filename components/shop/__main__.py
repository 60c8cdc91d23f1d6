"""Look at the shop that params.yaml describes: ``python -m components.shop OUT.png [OUT.html ...]``.

Nothing of the graph is touched. An output's ending says what is made: a contact sheet (.png) or a page with
listings (.html).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from components.shop.contact_sheet import contact_sheet, save_page, save_sheet
from components.shop.errors import ShopError
from components.shop.params import ShopParams
from components.shop.shop import Shop
from components.stage.arguments import Parser
from components.stage.errors import VitrineError
from components.stage.params import load_params


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
                save_page(items, output)
            elif output.suffix == ".png":
                save_sheet(contact_sheet(items, arguments.columns, arguments.boxes), output)
            else:
                raise ShopError(f"{output}: only .png and .html can be written.")
            print(output)
    except VitrineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
