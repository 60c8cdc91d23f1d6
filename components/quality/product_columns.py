"""What the checks need to know of each product, read from the shards one row group at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.catalog.errors import ImageError
from components.catalog.images import decode_image
from components.catalog.params import ImageLimits
from components.catalog.parquet import row_groups
from components.catalog.records import PRODUCTS
from components.catalog.schema import CatalogSchema, listing_problems
from components.catalog.shards import Catalogue
from components.quality.errors import GateError
from components.quality.params import QualityParams
from components.stage.progress import Progress

if TYPE_CHECKING:
    import pandas as pd

HASH_WIDTH, HASH_HEIGHT = 17, 16
# Steps of brightness (of 255) that count as one: compression noise on plain ground would decide the bits
# else.
HASH_STEP = 2


def difference_hash(data: bytes, limits: ImageLimits) -> str:
    """A 256-bit fingerprint that copies of a picture share: where brightness rises from left to right.

    The picture is reduced to 17x16 grey cells and each cell compared with its right neighbour (the "dHash").

    Raises:
        ImageError: the picture is refused or cannot be decoded to its end.
    """
    from PIL.Image import Resampling

    image = decode_image(data, limits, target_px=2 * HASH_WIDTH).convert("L")
    cells = np.asarray(image.resize((HASH_WIDTH, HASH_HEIGHT), Resampling.BOX), np.int16)
    return np.packbits(np.diff(cells, axis=1) > HASH_STEP).tobytes().hex()


def _picture(data: bytes | None, limits: ImageLimits) -> tuple[str, str]:
    """Problem and fingerprint of a picture; one of the two is empty."""
    if not data:
        return "the image is missing", ""
    try:
        return "", difference_hash(data, limits)
    except ImageError as error:
        return f"the image {error}", ""


def _listing(row: dict[str, Any], schema: CatalogSchema) -> dict[str, str]:
    """What is wrong with a row's type and attributes, one column per kind of problem."""
    found: dict[str, list[str]] = {"product_type": [], "attributes": [], "values": [], "required": []}
    pairs = [(pair["name"] or "", pair["value"] or "") for pair in row["attributes"] or []]
    names = [name for name, _ in pairs]
    found["attributes"] += [
        f"attribute {name!r} is given twice" for name in set(names) if names.count(name) > 1
    ]
    listing = (row["category"] or "", row["product_type"] or "", dict(pairs))
    for problem in listing_problems(schema, *listing, require=True):
        if problem.reason.startswith("is not an attribute"):
            place = "attributes"
        elif problem.reason == "is required and missing":
            place = "required"
        else:
            place = "product_type" if problem.field == "product_type" else "values"
        if problem.field != "category":  # the category has a check of its own
            found[place].append(f"{problem.field} {problem.reason}")
    return {f"{name}_problem": "; ".join(sorted(problems)) for name, problems in found.items()}


def _columns(row: dict[str, Any], picture: tuple[str, str], schema: CatalogSchema) -> dict[str, Any]:
    return {
        "product_id": row["product_id"] or None,
        "split": row["split"] or None,
        "category": row["category"] or None,
        "group_id": row["group_id"] or None,
        "title_chars": len(row["title"] or ""),
        "description_chars": len(row["description"] or ""),
        "image_problem": picture[0],
        "picture": picture[1] or None,
        **_listing(row, schema),
    }


def product_columns(catalogue: Path, schema: CatalogSchema, params: QualityParams) -> pd.DataFrame:
    """One row per product, in the order of the shards: values and problems that the checks look at.

    Pictures are decoded here, ``workers`` at a time, and only their problem and fingerprint are kept; memory
    holds the pictures of one row group.

    Raises:
        GateError: no rows.
        CatalogueError: no shards, or one is damaged or lacks a column of the contract.
    """
    import pandas as pd

    source = Catalogue(catalogue)
    progress = Progress("checking products", source.product_count, "products")
    columns: list[dict[str, Any]] = []
    with ThreadPoolExecutor(params.workers) as pool:
        for file in source.shards:
            for table in row_groups(file, PRODUCTS.names):
                data = [image and image["bytes"] for image in table["image"].to_pylist()]
                # One worker looks itself: handing small pictures to a thread costs more than decoding them.
                each = map if params.workers == 1 else pool.map
                pictures = each(lambda d: _picture(d, params.images), data)
                rows = table.drop_columns(["image"]).to_pylist()
                columns += [_columns(r, p, schema) for r, p in zip(rows, pictures, strict=True)]
                progress.advance(len(rows))
    if not columns:
        raise GateError(f"{catalogue} holds no products; mend the source and build the catalogue again.")
    return pd.DataFrame(columns)
