"""Small made-up catalogues in the shapes that shop systems export; a pure function of their size.

Every catalogue tells of the same products (lamps, mugs, chairs ... in a few colours and materials, with a
drawn picture each), so that shapes can be compared. Texts are our own; only the columns are the vendors'.
"""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageDraw

TYPES = {
    "Mug": ("Kitchen", "ellipse"),
    "Bowl": ("Kitchen", "pieslice"),
    "Lamp": ("Living", "triangle"),
    "Chair": ("Living", "rectangle"),
    "Scarf": ("Clothing", "line"),
    "Hat": ("Clothing", "half"),
}
COLOURS = ("navy", "gold", "crimson", "teal", "silver", "olive")
MATERIALS = ("Wood", "Glass", "Wool", "Steel")
CLIMATES = (["Indoor"], ["Indoor", "Warm"], ["All-Weather", "Cool", "Wet"])
WORDS = {  # "{colour} {type}" in six languages
    "en": "{} with a short description",
    "de": "{} mit kurzer Beschreibung",
    "fr": "{} avec une brève description",
    "es": "{} con una descripción breve",
    "ja": "{}、短い説明つき",
    "ar": "{} مع وصف قصير",
}
CDN = "https://cdn.example/files"


class Made(NamedTuple):
    """A product before it is written in a vendor's form; ``pictures`` are file names."""

    number: int
    title: str
    kind: str
    department: str
    colour: str
    material: str
    pictures: list[str]


@dataclass(frozen=True)
class Shape:
    """A form of catalogue.

    Attributes:
        name: of the shape. write: makes it in a folder, of so many products.
        mapping: a file of conf/mappings, the changes to it, or a whole mapping.
    """

    name: str
    write: Callable[[Path, int], None]
    mapping: str | None = None
    changes: dict[str, Any] = field(default_factory=dict)


def made(count: int) -> Iterator[Made]:
    """The products, types and colours in turn."""
    kinds = list(TYPES)
    for n in range(count):
        kind, colour = kinds[n % len(kinds)], COLOURS[(n // len(kinds)) % len(COLOURS)]
        material = MATERIALS[(n * 7) % len(MATERIALS)]
        title = f"{colour.capitalize()} {material.lower()} {kind.lower()} no. {n}"
        pictures = [f"p{n}.jpg", f"p{n}-side.jpg"] if n % 3 == 0 else [f"p{n}.jpg"]
        yield Made(n, title, kind, TYPES[kind][0], colour, material, pictures)


def picture(product: Made, side: int = 64) -> bytes:
    """A JPEG: the shape of the type in the product's colour, of a size and on a ground of the product's own.

    A few specks around it make sure that no two are taken for copies of one picture.
    """
    draws = random.Random(product.number)
    image = Image.new("RGB", (side, side), (draws.randrange(200, 250),) * 3)
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y, size = draws.randrange(side), draws.randrange(side), draws.randrange(3, 9)
        draw.rectangle([x, y, x + size, y + size], fill=(draws.randrange(120, 255),) * 3)
    low, high = draws.randrange(4, 16), side - draws.randrange(4, 16)
    form, colour = TYPES[product.kind][1], product.colour
    if form == "triangle":
        draw.polygon([(side // 2, low), (low, high), (high, high)], fill=colour)
    elif form == "line":
        draw.line([(low, low), (high, high)], fill=colour, width=9)
    elif form == "rectangle":
        draw.rectangle([low, low, high, high], fill=colour)
    elif form == "ellipse":
        draw.ellipse([low, low, high, high], fill=colour)
    else:
        draw.pieslice([low, low, high, high], *((0, 180) if form == "half" else (30, 330)), fill=colour)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _pictures(root: Path, products: Sequence[Made], folder: str = "images") -> None:
    (root / folder).mkdir(parents=True, exist_ok=True)
    for product in products:
        for number, name in enumerate(product.pictures):
            (root / folder / name).write_bytes(picture(product, 64 + 8 * number))


def _table(path: Path, rows: Sequence[dict[str, Any]], delimiter: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), delimiter=delimiter, restval="")
        writer.writeheader()
        writer.writerows(rows)


def _lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def shopify(root: Path, count: int) -> None:
    """A row per variant and picture; only a product's first has a title."""
    products, rows = list(made(count)), []
    for p in products:
        first = {
            "Handle": f"{p.kind.lower()}-{p.number}",
            "Title": p.title,
            "Body (HTML)": f"<p>A {p.kind.lower()} of {p.material.lower()}.</p>",
            "Vendor": p.material,
            "Product Category": f"Home > {p.department} > {p.kind}",
            "Type": p.kind,
            "Option1 Name": "Size",
            "Option1 Value": "S",
            "Variant Price": 9 + p.number,
            "Image Src": f"{CDN}/{p.pictures[0]}?v=1",
        }
        rows.append(first)
        rows += [{"Handle": first["Handle"], "Option1 Value": size} for size in ("M", "L")[: p.number % 3]]
        rows += [{"Handle": first["Handle"], "Image Src": f"{CDN}/{name}?v=1"} for name in p.pictures[1:]]
    _pictures(root, products)
    _table(root / "products_export_1.csv", rows)


def woocommerce(root: Path, count: int) -> None:
    """Variations are rows without categories; a cell holds all pictures, or all values of an attribute."""
    products, rows = list(made(count)), []
    for p in products:
        product: dict[str, Any] = {
            "ID": p.number + 100,
            "Type": "variable" if p.number % 4 == 0 else "simple",
            "Name": p.title,
            "Description": f"A {p.kind.lower()} of {p.material.lower()}.",
            "Categories": f"Home > {p.department} > {p.kind}",
            "Images": ", ".join(f"{CDN}/{name}" for name in p.pictures),
            "Parent": "",
            "Attribute 1 name": "Colour",
            "Attribute 1 value(s)": f"{p.colour}, white" if p.number % 4 == 0 else p.colour,
            "Attribute 2 name": "Material",
            "Attribute 2 value(s)": p.material,
        }
        rows.append(product)
        if p.number % 4 == 0:
            rows.append({"ID": p.number + 9_000, "Type": "variation", "Name": p.title, "Parent": p.number})
    _pictures(root, products)
    _table(root / "wc-product-export.csv", rows)


def _merchant(root: Path, count: int) -> list[dict[str, Any]]:
    products = list(made(count))
    _pictures(root, products)
    return [
        {
            "id": f"g{p.number}",
            "title": p.title,
            "description": f"A {p.kind.lower()} of {p.material.lower()} & more.",
            "image_link": f"{CDN}/{p.pictures[0]}",
            "price": f"{9 + p.number}.00 USD",
            "brand": ("Alder", "Birch")[p.number % 2],
            "google_product_category": f"Home > {p.department}",
            "product_type": f"{p.department} > {p.kind}",
            "color": p.colour,
            "material": p.material,
            "gender": "unisex",
            "size": ("S", "M", "L")[p.number % 3],
            "item_group_id": f"d{p.number // 2}",
        }
        for p in products
    ]


def google_tsv(root: Path, count: int) -> None:
    """Tab-separated text."""
    _table(root / "feed.tsv", _merchant(root, count), delimiter="\t")


def google_xml(root: Path, count: int) -> None:
    """RSS with elements of Google's own."""
    from xml.sax.saxutils import escape

    items = "".join(
        "<item>" + "".join(f"<g:{k}>{escape(str(v))}</g:{k}>" for k, v in row.items()) + "</item>\n"
        for row in _merchant(root, count)
    )
    head = '<?xml version="1.0"?>\n<rss xmlns:g="http://base.google.com/ns/1.0" version="2.0"><channel>\n'
    (root / "feed.xml").write_text(
        f"{head}<title>Made up</title>\n{items}</channel></rss>\n", encoding="utf-8"
    )


def berkeley(root: Path, count: int) -> None:
    """Every text is a list with languages; photos are in a table of their own."""
    products, rows, photos = list(made(count)), [], []
    for p in products:
        languages = [{"language_tag": "de_DE", "value": f"{p.kind} aus Stoff"}]
        if p.number % 10:
            languages.append({"language_tag": "en_US", "value": p.title})
        rows.append(
            {
                "item_id": f"B{p.number:04d}",
                "country": "US",
                "item_name": languages,
                "bullet_point": [{"language_tag": "en_US", "value": f"Made of {p.material.lower()}"}],
                "node": [{"node_id": 1, "node_name": f"/Home/{p.department}"}],
                "product_type": [{"value": p.kind.upper()}],
                "color": [{"language_tag": "en_US", "value": p.colour}],
                "material": [{"language_tag": "en_US", "value": p.material}],
                "main_image_id": f"i{p.number}",
                "other_image_id": [f"i{p.number}-{n}" for n in range(1, len(p.pictures))],
            }
        )
        for n, file in enumerate(p.pictures):
            image_id = f"i{p.number}-{n}" if n else f"i{p.number}"
            photos.append({"image_id": image_id, "height": 64, "width": 64, "path": f"00/{file}"})
    _pictures(root, products, "images/small/00")
    _lines(root / "listings/metadata/listings_0.jsonl", rows[: count // 2])
    _lines(root / "listings/metadata/listings_1.jsonl", rows[count // 2 :])
    _table(root / "images/metadata/images.csv", photos)


def food_facts(root: Path, count: int) -> None:
    """Categories and brands in one text each, pictures named after the code, rows without a name."""
    products, rows = list(made(count)), []
    for p in products:
        row = {
            "code": f"{4000000 + p.number:013d}",
            "product_name": p.title if p.number % 9 else "",
            "generic_name": f"A {p.kind.lower()}",
            "categories": f"{p.department}, {p.kind}",
            "brands": f"{p.material}, Other brand",
            "labels_tags": ["en:organic", "en:vegan"][: p.number % 3],
            "nutriscore_grade": "abcde"[p.number % 5],
        }
        rows.append(row)
        (root / "images").mkdir(parents=True, exist_ok=True)
        (root / "images" / f"{row['code']}.jpg").write_bytes(picture(p))
    _lines(root / "openfoodfacts-products.jsonl", rows)


def hugging_face(root: Path, count: int) -> None:
    """Parquet with the pictures inside."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {
            "id": p.number,
            "productDisplayName": p.title,
            "masterCategory": p.department,
            "articleType": p.kind,
            "baseColour": p.colour,
            "season": ("Summer", "Winter")[p.number % 2],
            "usage": "Casual" if p.number % 3 else None,
            "gender": "Women",
            "image": {"bytes": picture(p), "path": p.pictures[0]},
        }
        for p in made(count)
    ]
    (root / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows[: count // 2]), root / "data/train-00000-of-00002.parquet")
    pq.write_table(pa.Table.from_pylist(rows[count // 2 :]), root / "data/train-00001-of-00002.parquet")


PLAIN: dict[str, Any] = {
    "products": "products.jsonl",
    "fields": {"product_id": "sku", "title": "title", "category": "department", "product_type": "kind"},
    "image": {"path": "photo", "folder": "images"},
    "attributes": ["colour", "material"],
    "derive_queries": {"templates": ["{colour} {product_type}"]},
}


def plain(change: Callable[[dict[str, Any], Made], None] | None = None) -> Callable[[Path, int], None]:
    """A catalogue with a row per product, each row changed by ``change``."""

    def _write(root: Path, count: int) -> None:
        rows, products = [], list(made(count))
        for p in products:
            row = {"sku": f"s{p.number}", "title": p.title, "department": p.department, "kind": p.kind}
            row |= {"colour": p.colour, "material": p.material, "photo": p.pictures[0]}
            if change:
                change(row, p)
            rows.append(row)
        _pictures(root, products)
        _lines(root / "products.jsonl", rows)

    return _write


def _in_six_languages(row: dict[str, Any], product: Made) -> None:
    languages = list(WORDS)
    row["title"] = WORDS[languages[product.number % len(languages)]].format(row["title"])


def _text_only(root: Path, count: int) -> None:
    plain(lambda row, _: row.pop("photo"))(root, count)
    for file in (root / "images").iterdir():
        file.unlink()


SHAPES = (
    Shape("Shopify CSV", shopify, "shopify"),
    Shape("WooCommerce CSV", woocommerce, "woocommerce"),
    Shape("Google Merchant TSV", google_tsv, "google-merchant"),
    Shape("Google Merchant XML", google_xml, "google-merchant", {"products": "feed.xml"}),
    Shape("Amazon Berkeley Objects", berkeley, "amazon-berkeley-objects"),
    Shape("Open Food Facts", food_facts, "open-food-facts"),
    Shape("Hugging Face Parquet", hugging_face, "hugging-face"),
    Shape("no queries", plain(), changes=PLAIN | {"derive_queries": None}),
    Shape("no attributes", plain(), changes=PLAIN | {"attributes": [], "derive_queries": None}),
    Shape("one category", plain(lambda row, _: row.update(department="All")), changes=PLAIN),
    Shape("300 products", plain(), changes=PLAIN),
    Shape("text only", _text_only, changes=PLAIN),
    Shape(
        "multi-valued",
        plain(lambda row, p: row.update(climate=CLIMATES[p.number % 3])),
        changes=PLAIN
        | {
            "attributes": ["colour", "climate"],
            "derive_queries": {"templates": ["{colour} {product_type}", "{climate} {product_type}"]},
        },
    ),
    Shape("several pictures", plain(lambda row, p: row.update(photo=p.pictures)), changes=PLAIN),
    Shape("six languages", plain(_in_six_languages), changes=PLAIN),
)
