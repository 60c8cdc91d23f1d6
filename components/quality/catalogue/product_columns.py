"""What the checks need to know of each product, read from the shards one row group at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.catalog.format.errors import ImageError
from components.catalog.format.images import decode_image
from components.catalog.format.params import ImageLimits
from components.catalog.format.parquet import open_parquet, row_groups
from components.catalog.format.records import PRODUCTS
from components.catalog.format.schema import CatalogSchema, listing_problems
from components.catalog.format.shards import Catalogue
from components.quality.errors import GateError
from components.quality.params import QualityParams
from components.stage.frame import die_with_parent
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


def _group_columns(task: tuple[Path, int, CatalogSchema, ImageLimits]) -> list[dict[str, Any]]:
    """Columns of one row group of a shard."""
    file, group, schema, limits = task
    columns = []
    for table in row_groups(file, PRODUCTS.names, groups=[group]):
        data = [image and image["bytes"] for image in table["image"].to_pylist()]
        rows = table.drop_columns(["image"]).to_pylist()
        columns += [_columns(row, _picture(d, limits), schema) for row, d in zip(rows, data, strict=True)]
    return columns


@contextmanager
def _each(workers: int) -> Iterator[Callable[..., Iterator[list[dict[str, Any]]]]]:
    """``map``, in this process or in ``workers`` others; decoding small pictures holds Python's lock."""
    if workers == 1:
        yield map
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), die_with_parent) as pool:
        yield pool.map


def product_columns(
    catalogue: Path, schema: CatalogSchema, params: QualityParams, meanwhile: Callable[[], object] = int
) -> pd.DataFrame:
    """One row per product, in the order of the shards: values and problems that the checks look at.

    Pictures are decoded here, and only their problem and fingerprint are kept; each worker's memory holds the
    pictures of one row group.

    Args:
        meanwhile: is done in this process while the workers are at it.

    Raises:
        GateError: no rows.
        CatalogueError: no shards, or one is damaged or lacks a column of the contract.
    """
    import pandas as pd

    source = Catalogue(catalogue)
    progress = Progress("checking products", source.product_count, "products")
    columns: list[dict[str, Any]] = []
    groups = [(file, group) for file in source.shards for group in range(open_parquet(file).num_row_groups)]
    with _each(params.workers) as each:
        found = each(_group_columns, [(*group, schema, params.images) for group in groups])
        meanwhile()
        for part in found:
            columns += part
            progress.advance(len(part))
    if not columns:
        raise GateError(f"{catalogue} holds no products; mend the source and build the catalogue again.")
    return pd.DataFrame(columns)
