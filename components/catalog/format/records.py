"""The catalogue's records and their Parquet form: the contract between every part of Vitrine.

A catalogue is a folder::

    products/part-00000.parquet ...   one row per product, image bytes inside; further pictures of it in a
                                      column ``more_images``, if any product of the catalogue has such
    queries.parquet                   one row per search query
    qrels.parquet                     graded judgements (BEIR's word)
    schema.json                       category -> attributes (components.catalog.format.schema)
    manifest.json                     counts and origin

Rows are ordered by ``product_id`` / ``query_id``, so equal input gives equal bytes.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from components.catalog.format.attributes import Attributes

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

# The Hugging Face ``datasets`` layout of an image column.
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
# One pair per value, sorted by name and value (components/catalog/format/attributes.py).
PAIRS = pa.list_(pa.struct([("name", pa.string()), ("value", pa.string())]))

PRODUCTS = pa.schema(
    [
        ("product_id", pa.string()),
        ("split", pa.string()),
        ("image", IMAGE),
        ("title", pa.string()),
        ("description", pa.string()),
        ("category", pa.string()),
        ("product_type", pa.string()),
        ("attributes", PAIRS),
        ("group_id", pa.string()),
    ]
)
MORE_IMAGES = "more_images"  # further pictures of a product, behind its main one
WITH_MORE_IMAGES = PRODUCTS.append(pa.field(MORE_IMAGES, pa.list_(IMAGE)))
TEXT_COLUMNS = [name for name in PRODUCTS.names if name != "image"]  # a product without its picture
QUERIES = pa.schema(
    [("query_id", pa.string()), ("text", pa.string()), ("kind", pa.string()), ("split", pa.string())]
)
QRELS = pa.schema(
    [
        ("query_id", pa.string()),
        ("product_id", pa.string()),
        ("relevance", pa.int8()),  # 0 irrelevant .. 3 exact
        ("desirability", pa.int8()),  # 0 none, 1 seen, 2 click, 3 cart, 4 purchase; null when unknown
    ]
)
# What is really in the picture; read by evaluation stages only.
TRUTH = pa.schema(
    [
        ("product_id", pa.string()),
        ("title", pa.string()),
        ("description", pa.string()),
        ("attributes", PAIRS),
        # x0 y0 x1 y1 as fractions of width and height; null when unknown. Of variable length by type only:
        # Arrow cannot read back a Parquet column of fixed-size lists that holds nulls.
        ("box", pa.list_(pa.float32())),
        ("scene", pa.string()),  # plain | cluttered | unknown
        (
            "noise",
            pa.list_(pa.struct([("field", pa.string()), ("kind", pa.string()), ("detail", pa.string())])),
        ),
    ]
)


class Row(BaseModel):
    """Base of catalogue rows: strict and immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Product(Row):
    """One product as a seller lists it. ``image`` holds an encoded picture (JPEG, PNG or WebP).

    ``more_images`` are further pictures of it, encoded alike.
    """

    product_id: str = Field(min_length=1)
    image: bytes
    image_path: str = ""
    more_images: tuple[bytes, ...] = ()
    title: str = ""
    description: str = ""
    category: str
    product_type: str
    attributes: Attributes = {}
    group_id: str
    split: Split | None = None


class Query(Row):
    """A search query; ``kind`` says what it asks for: textual, visual, derived."""

    query_id: str = Field(min_length=1)
    text: str
    kind: str = "textual"
    split: Split = "test"


class Qrel(Row):
    """How well a product answers a query, by people (relevance) and by engagement (desirability)."""

    query_id: str
    product_id: str
    relevance: int = Field(ge=0, le=3)
    desirability: int | None = Field(default=None, ge=0, le=4)


class QrelRow(NamedTuple):
    """A judgement as it stands in a catalogue, unchecked: there are hundreds of thousands of them."""

    query_id: str
    product_id: str
    relevance: int
    desirability: int | None


class Noise(Row):
    """One thing the seller-noise model did to a listing."""

    field: str
    kind: str
    detail: str = ""


class Truth(Row):
    """The clean listing and the place of the product in its picture."""

    product_id: str
    title: str = ""
    description: str = ""
    attributes: Attributes = {}
    box: tuple[float, float, float, float] | None = None
    scene: Literal["plain", "cluttered", "unknown"] = "unknown"
    noise: tuple[Noise, ...] = ()
