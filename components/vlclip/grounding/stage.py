"""The grounding stage: a box or a fallback for every product, streamed from the catalogue's shards."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from components.catalog.format.parquet import RowWriter
from components.catalog.format.schema import read_schema
from components.encoder.model.features.pixels import ROWS_AT_ONCE, shard_paths
from components.stage.memory import keep_freed_memory
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.progress import Progress
from components.stage.publish import published
from components.stage.record import Record
from components.vlclip.grounding.grounding import EncoderGrounder, Examples, Grounder, ground
from components.vlclip.model.errors import GroundingDataError
from components.vlclip.model.params import EmptyPictures, GroundParams

# Lists of variable length by type only: Arrow cannot read back fixed-size lists that hold nulls.
BOXES = pa.schema(
    [
        ("product_id", pa.string()),
        ("box", pa.list_(pa.float32())),  # x0 y0 x1 y1 as fractions; null when the whole picture is used
        ("score", pa.float32()),
        ("fallback", pa.bool_()),
        ("reason", pa.string()),  # why the whole picture is used; empty when the box is
        ("point", pa.list_(pa.float32())),  # x y, the most telling point; null when there is none
    ]
)


class Blocks(Params):
    """What the stage reads from params.yaml."""

    ground: GroundParams


def make_grounder(
    params: GroundParams, model: Path, examples: Callable[[EmptyPictures], Examples]
) -> Grounder:
    """The method that the parameters name; only the encoder's reads its folder and asks for examples."""
    if params.detector is not None:
        from components.vlclip.grounding.detectors import DetectorGrounder

        return DetectorGrounder(params.detector, params.precision, params.batch_size)
    from components.encoder.model.features.encode import BatchEncoder
    from components.encoder.model.towers.files import load_encoder

    assert params.encoder is not None
    encoder = BatchEncoder(load_encoder(model), params.batch_size, params.precision)
    return EncoderGrounder(encoder, params.encoder, params.threads, examples(params.encoder.empty))


def spread_examples(catalogue: Path, params: EmptyPictures) -> Examples:
    """Pictures of the split, evenly spread over the catalogue."""
    splits = [
        s for p in shard_paths(catalogue) for s in pq.read_table(p, columns=["split"])["split"].to_pylist()
    ]
    inside = [i for i, split in enumerate(splits) if split == params.split]
    chosen = set(inside[:: max(1, len(inside) // params.pictures)][: params.pictures])
    pictures, types, at = list[bytes](), list[str](), 0
    for _, product_types, images in _batches(catalogue):
        taken = [i for i in range(len(images)) if at + i in chosen]
        pictures += [images[i] for i in taken]
        types += [product_types[i] for i in taken]
        at += len(images)
    return Examples(pictures, types)


def _batches(catalogue: Path) -> Iterator[tuple[list[str], list[str], list[bytes]]]:
    for shard in shard_paths(catalogue):
        columns = ["product_id", "product_type", "image"]
        for batch in pq.ParquetFile(shard).iter_batches(ROWS_AT_ONCE, columns=columns):
            images = [data or b"" for data in batch.column("image").field("bytes").to_pylist()]
            yield batch.column("product_id").to_pylist(), batch.column("product_type").to_pylist(), images


def run(params: Blocks, paths: Paths, record: Record) -> None:
    """Stage ``ground``: ``boxes.parquet`` and ``meta.json``; one batch of pictures in memory at a time.

    Raises:
        GroundingDataError: the catalogue holds no product shard.
    """
    block = params.ground
    torch.set_num_threads(block.threads)
    keep_freed_memory()
    if not shard_paths(paths.catalogue):
        raise GroundingDataError(
            f"{paths.catalogue} holds no product shard; run 'vitrine run --until catalog_quality'."
        )
    with record.timed("load"):
        grounder = make_grounder(block, paths.encoder, lambda empty: spread_examples(paths.catalogue, empty))
    with published(paths.grounding) as folder, record.timed("ground"):
        folder.mkdir(parents=True)
        reasons = _write_boxes(grounder, paths.catalogue, block.minimum_area, folder / "boxes.parquet")
        (folder / "meta.json").write_text(_meta(block, reasons, grounder), encoding="utf-8")
    total = sum(reasons.values())
    record.outputs = [str(paths.grounding)]
    record.metrics = {
        "products": float(total),
        "fallback_rate": 1 - reasons[""] / max(1, total),
        "threshold": grounder.threshold,
        "products_per_second": total / max(record.timings["ground"], 1e-9),
    }


def _write_boxes(grounder: Grounder, catalogue: Path, minimum_area: float, file: Path) -> Counter[str]:
    """Ground every picture into ``file``; how often each reason to fall back occurred ("" for a box)."""
    schema = read_schema(catalogue / "schema.json")
    known = {t for category in schema.categories.values() for t in category.product_types}
    products = sum(pq.ParquetFile(s).metadata.num_rows for s in shard_paths(catalogue))
    progress, reasons = Progress("grounding", products, "pictures"), Counter[str]()
    with RowWriter(file, BOXES) as writer:
        for ids, types, images in _batches(catalogue):
            for name, found in zip(ids, ground(grounder, images, types, known, minimum_area), strict=True):
                reasons[found.reason] += 1
                verdict = {n: getattr(found, n) for n in BOXES.names if n != "product_id"}
                writer.add({"product_id": name, **verdict})
            progress.advance(len(ids))
    return reasons


def _meta(params: GroundParams, reasons: Counter[str], grounder: Grounder) -> str:
    """What made the boxes, from which score on, and how often each reason to fall back occurred."""
    settings: dict[str, Any] = params.model_dump(mode="json", exclude={"threads", "batch_size"})
    fallbacks = {reason: count for reason, count in sorted(reasons.items()) if reason}
    meta = {"count": sum(reasons.values()), "fallbacks": fallbacks, "parameters": settings}
    meta |= {"threshold": grounder.threshold}
    if isinstance(grounder, EncoderGrounder):
        meta |= {"empty_fallback": grounder.empty_fallback}
    return json.dumps(meta, indent=1, sort_keys=True) + "\n"
