"""What the checks need to know of each product, read from the shards one row group at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext, suppress
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from components.catalog.format.attributes import of_facts, of_pairs, shown
from components.catalog.format.errors import ImageError
from components.catalog.format.images import check_image, decode_image
from components.catalog.format.params import ImageLimits
from components.catalog.format.parquet import open_parquet, row_groups
from components.catalog.format.records import MORE_IMAGES, TEXT_COLUMNS
from components.catalog.format.schema import CatalogSchema, listing_problems
from components.catalog.format.shards import Catalogue
from components.quality.catalogue.same_pictures import fingerprint
from components.quality.catalogue.texts import text_columns
from components.quality.errors import GateError
from components.quality.expectations import shortened
from components.quality.params import QualityParams
from components.stage.frame import die_with_parent
from components.stage.progress import Progress

if TYPE_CHECKING:
    import pandas as pd

ATTRIBUTE = "attributes."
# for headers; nothing is decoded
ANY_SIZE = ImageLimits(
    max_bytes=2**62, max_pixels=2**62, min_side_px=1, max_scans=2**31, max_decoded_bytes=2**62
)


def _picture(data: bytes | None, limits: ImageLimits) -> dict[str, Any]:
    """What is known of a picture: its header, its fingerprint, and whether it can be decoded.

    Beyond the limits nothing is decoded, and ``image_decodes`` is false: ``image_problem`` says why.
    """
    columns: dict[str, Any] = dict.fromkeys(("picture", "image_format", "image_width", "image_height"))
    columns |= {"image_bytes": len(data or b""), "image_decodes": False}
    if not data:
        return {**columns, "image_problem": "the image is missing"}
    with suppress(ImageError):  # told below, in the words of the limits that are asked for
        seen = check_image(data, ANY_SIZE)
        columns |= {"image_format": seen.format, "image_width": seen.width, "image_height": seen.height}
    try:
        columns |= {"picture": fingerprint(data, limits), "image_decodes": True}
        return {**columns, "image_problem": ""}
    except ImageError as error:
        return {**columns, "image_problem": f"the image {error}"}


def _more_pictures(cells: list[Any] | None, limits: ImageLimits) -> dict[str, Any]:
    """How many further pictures cannot be decoded, and why the first of them cannot."""
    problems = []
    for number, cell in enumerate(cells or (), 2):
        try:
            decode_image((cell and cell["bytes"]) or b"", limits, target_px=1)
        except ImageError as error:
            problems.append(f"picture {number} {error}")
    return {"broken_pictures": len(problems), "pictures_problem": next(iter(problems), "")}


def _listing(row: dict[str, Any], schema: CatalogSchema) -> dict[str, Any]:
    """How a row's type and attributes fit its category; ``*_problem`` says what does not."""
    found: dict[str, list[str]] = {"product_type": [], "attributes": [], "values": [], "required": []}
    pairs = [(pair["name"] or "", pair["value"] or "") for pair in row["attributes"] or []]
    names = [name for name, _ in pairs]
    category = schema.categories.get(row["category"] or "")
    known = category.attributes if category else {}
    multiple = {name for name, attribute in known.items() if attribute.multiple}
    twice = {name for name in set(names) - multiple if names.count(name) > 1}
    found["attributes"] += [
        f"attribute {shortened(name)!r} is given twice, and is not multiple in the schema" for name in twice
    ]
    stated = {**of_facts(pairs), **{name: dict(pairs)[name] for name in twice}}
    listing = (row["category"] or "", row["product_type"] or "", stated)
    for problem in listing_problems(schema, *listing, require=True):
        if problem.reason.startswith("is not an attribute"):
            place = "attributes"
        elif problem.reason == "is required and missing":
            place = "required"
        else:
            place = "product_type" if problem.field == "product_type" else "values"
        if problem.field != "category":  # the category has a check of its own
            found[place].append(f"{shortened(problem.field)} {problem.reason}")
    return {
        "product_type_known": not found["product_type"],
        "unknown_attributes": len(found["attributes"]),
        "values_outside_schema": len(found["values"]),
        "missing_attributes": len(found["required"]),
        **{f"{name}_problem": "; ".join(sorted(problems)) for name, problems in found.items()},
    }


class ShardCheck(NamedTuple):
    """What the check of a shard's products needs besides the shard."""

    schema: CatalogSchema
    params: QualityParams
    columns: Sequence[str]  # of the shards
    attributes: tuple[str, ...]  # those that are columns of their own: ``attributes.NAME``


def _columns(row: dict[str, Any], picture: dict[str, Any], look: ShardCheck) -> dict[str, Any]:
    stated = of_pairs(row["attributes"])
    return {
        **{
            name: row[name] or None
            for name in ("product_id", "split", "category", "product_type", "group_id")
        },
        **{name: row[name] or "" for name in ("title", "description")},
        **picture,
        **_listing(row, look.schema),
        **text_columns(row, look.params),
        **{f"{ATTRIBUTE}{name}": shown(stated[name]) if name in stated else None for name in look.attributes},
    }


def _group_columns(task: tuple[Path, int, ShardCheck]) -> list[dict[str, Any]]:
    """Columns of one row group of a shard."""
    file, group, look = task
    columns = []
    for table in row_groups(file, look.columns, groups=[group]):
        data = [image and image["bytes"] for image in table["image"].to_pylist()]
        more = table[MORE_IMAGES].to_pylist() if MORE_IMAGES in look.columns else [None] * len(data)
        rows = table.select(TEXT_COLUMNS).to_pylist()
        limits = look.params.images
        seen = (_picture(p, limits) | _more_pictures(m, limits) for p, m in zip(data, more, strict=True))
        columns += [_columns(row, picture, look) for row, picture in zip(rows, seen, strict=True)]
    return columns


def product_frames(
    catalogue: Path, look: ShardCheck, workers: int, meanwhile: Callable[[], object] = int
) -> Iterator[pd.DataFrame]:
    """Yield one frame per shard, one row per product, with its number in ``row``.

    Pictures are decoded here, and only what the header says, a problem and a fingerprint are kept; each
    worker's memory holds the pictures of one row group.

    Args:
        catalogue: Its folder.
        look: What to look at.
        workers: Processes that decode; 1 is this one.
        meanwhile: Is done in this process while the workers are at it.

    Raises:
        GateError: no rows.
        CatalogueError: no shards, or one is damaged or lacks a column of the contract.
    """
    import pandas as pd

    source = Catalogue(catalogue)
    progress = Progress("checking products", source.product_count, "products")
    counts = [open_parquet(file).num_row_groups for file in source.shards]
    tasks = [(file, at, look) for file, n in zip(source.shards, counts, strict=True) for at in range(n)]
    first = 0
    # Processes, for decoding small pictures holds Python's lock.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), die_with_parent) if workers > 1 else None
    with pool or nullcontext():
        found = iter((pool.map if pool else map)(_group_columns, tasks))
        meanwhile()
        for count in counts:
            rows = [row for part in islice(found, count) for row in part]
            progress.advance(len(rows))
            if rows:
                yield pd.DataFrame(rows).assign(row=range(first, first + len(rows)))
            first += len(rows)
    if not first:
        raise GateError(f"{catalogue} holds no products; mend the source and build the catalogue again.")
