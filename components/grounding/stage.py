"""The grounding stage: teach a grounder, then boxes or fallbacks for every product, shard by shard."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from components.catalog.format.parquet import RowWriter
from components.catalog.format.schema import read_schema
from components.encoder.model.crops.errors import GroundingDataError
from components.encoder.model.crops.grounding_file import BY_CATEGORY, BY_TYPE, CENTRE, TAUGHT
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.pixels import ROWS_AT_ONCE, shard_paths
from components.encoder.model.towers.files import LoadedEncoder, load_encoder
from components.grounding.dense.files import TrainedHead, save_grounder
from components.grounding.dense.grounder import DenseGrounder
from components.grounding.dense.reading import AskedTypes, trunk_maps
from components.grounding.dense.teach import chosen_pictures, cut_outs_of, taught_head
from components.grounding.grounding import AnyOf, CentreGrounder, Grounder, Prompt, ground
from components.grounding.params import GroundParams
from components.stage.files.publish import published, write_text
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.progress import Progress
from components.stage.record import Record

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


Pictures = Callable[[int], list[tuple[bytes, str]]]  # at most so many, with their types, which take turns


class Blocks(Params):
    """The parameters of the stage: the detector, or the dense head and how it is taught."""

    ground: GroundParams


@dataclass(frozen=True)
class Made:
    """A grounder, and what meta.json tells of how it came about; ``trained`` is what is published."""

    grounder: Grounder
    told: dict[str, Any]
    trained: TrainedHead | None = None


def make_grounder(params: GroundParams, encoder: Callable[[], LoadedEncoder], train: Pictures) -> Made:
    """The method that the parameters name: a detector, or a head taught by pictures of products.

    Args:
        encoder: gives the towers; a detector does not ask for them. train: gives pictures to learn from.
    """
    if (detector := params.detector) is not None:
        from components.grounding.detectors import DetectorGrounder

        found_by = DetectorGrounder(detector, params.precision, params.batch_size)
        if detector.threshold is None:
            pictures = train(detector.calibration_pictures)
            found_by.calibrate([data for data, _ in pictures], other_types([kind for _, kind in pictures]))
        return Made(found_by, {"method": found_by.kind, "threshold": found_by.threshold})
    scenes, towers = params.scenes, encoder()
    assert scenes is not None
    composer = scenes.composer
    with_types = ((data, kind) for data, kind in train(composer.pictures) if kind.strip())
    found = cut_outs_of(with_types, composer, params.threads)
    if found.problem:
        print(f"ground: {found.problem}; the middle of each picture is used", file=sys.stderr)
        return Made(CentreGrounder(scenes.centre_side), {"method": CENTRE, "why": found.problem})
    batch = BatchEncoder(towers, params.batch_size, params.precision)
    maps = trunk_maps(towers.encoder, params.precision)
    trained = taught_head(found, params, maps, towers.image_sha256)
    asked = AskedTypes(trained.types, batch.text_features, scenes.temperature, scenes.least_similarity)
    grounder = DenseGrounder(trained, maps, asked, params.batch_size, params.threads)
    told = {"method": TAUGHT, **trained.scenes, **trained.calibration._asdict(), "types": trained.types}
    return Made(grounder, told, trained)


def other_types(kinds: Sequence[str]) -> list[str]:
    """For each picture a type that is not its own, the others in turn; no type where there is no other."""
    known = sorted({k for k in kinds if k.strip()})
    others = {k: [other for other in known if other != k] for k in known}
    asked = [others.get(k, []) for k in kinds]
    return [other[i % len(other)] if other else "" for i, other in enumerate(asked)]


def train_pictures(catalogue: Path, most: int) -> list[tuple[bytes, str]]:
    """At most ``most`` encoded pictures of the train split with their types, which take turns; in order."""
    splits, kinds = list[str](), list[str]()
    for shard in shard_paths(catalogue):
        table = pq.read_table(shard, columns=["split", "product_type"])
        splits += table["split"].to_pylist()
        kinds += table["product_type"].to_pylist()
    inside = [i for i, split in enumerate(splits) if split == "train"]
    chosen = {inside[at] for at in chosen_pictures([kinds[i] for i in inside], most)}
    found, start = list[tuple[bytes, str]](), 0
    for batch in _batches(catalogue):
        shown = zip(batch.images, batch.types, strict=True)
        found += [picture for at, picture in enumerate(shown, start) if at in chosen]
        start += len(batch.images)
    return found


class Batch(NamedTuple):
    """Products of a shard, with encoded pictures."""

    ids: list[str]
    categories: list[str]
    types: list[str]
    images: list[bytes]


def _batches(catalogue: Path) -> Iterator[Batch]:
    for shard in shard_paths(catalogue):
        columns = ["product_id", "category", "product_type", "image"]
        for batch in pq.ParquetFile(shard).iter_batches(ROWS_AT_ONCE, columns=columns):
            images = [data or b"" for data in batch.column("image").field("bytes").to_pylist()]
            ids, categories, types = (batch.column(name).to_pylist() for name in columns[:-1])
            yield Batch(ids, categories, types, images)


def run(params: Blocks, paths: Paths, record: Record) -> None:
    """Stage ``ground``: the grounder's folder, boxes of every product, and ``meta.json``.

    ``boxes.parquet`` is asked with each product's type; ``categories.parquet`` with any type of its category,
    as the photo of a product whose type nobody has stated can be asked; a dense head alone is asked so.

    Raises:
        GroundingDataError: the catalogue holds no product shard.
    """
    block = params.ground
    torch.set_num_threads(block.threads)
    if not shard_paths(paths.catalogue):
        raise GroundingDataError(
            f"{paths.catalogue} holds no product shard; run 'vitrine run --until catalog_quality'."
        )
    with record.timed("teach"):
        made = make_grounder(
            block, lambda: load_encoder(paths.encoder), partial(train_pictures, paths.catalogue)
        )
    with published(paths.grounder) as folder:
        save_grounder(made.trained, str(made.told.get("why", made.told["method"])), folder)
    with published(paths.grounding) as folder, record.timed("ground"):
        folder.mkdir(parents=True)
        reasons = _write_boxes(made, paths.catalogue, block.minimum_area, folder)
        fallbacks = {reason: count for reason, count in reasons.items() if reason}
        settings = block.model_dump(mode="json", exclude={"threads", "batch_size"})
        meta = {"count": reasons.total(), "fallbacks": fallbacks, "parameters": settings}
        meta |= {"threshold": made.grounder.threshold, "made": made.told}
        write_text(folder / "meta.json", json.dumps(meta, indent=1, sort_keys=True) + "\n")
    total = reasons.total()
    record.outputs = [str(paths.grounder), str(paths.grounding)]
    record.metrics = {
        "products": float(total),
        "fallback_rate": 1 - reasons[""] / max(1, total),
        "threshold": made.grounder.threshold,
        "products_per_second": total / max(record.timings["ground"], 1e-9),
    }


def _write_boxes(made: Made, catalogue: Path, minimum_area: float, folder: Path) -> Counter[str]:
    """Ground every picture; how often each reason to fall back occurred ("" for a box), asked by type.

    Of a detector or of centre crops nobody reads boxes of categories, and a detector would look once more.
    """
    schema = read_schema(catalogue / "schema.json")
    known = {t for category in schema.categories.values() for t in category.product_types}
    categories = {name: AnyOf(name, tuple(c.product_types)) for name, c in schema.categories.items()}
    products = sum(pq.ParquetFile(s).metadata.num_rows for s in shard_paths(catalogue))
    progress, reasons = Progress("grounding", products, "pictures"), Counter[str]()
    names = (BY_TYPE, BY_CATEGORY) if made.trained else (BY_TYPE,)
    with ExitStack() as stack:
        writers = [stack.enter_context(RowWriter(folder / name, BOXES)) for name in names]
        for batch in _batches(catalogue):
            asked: list[Prompt] = [*batch.types, *(categories[name] for name in batch.categories)]
            count = len(batch.ids)
            asked = asked[: count * len(writers)]
            found = ground(made.grounder, batch.images * len(writers), asked, known, minimum_area)
            reasons.update(one.reason for one in found[:count])
            for k, writer in enumerate(writers):
                for name, one in zip(batch.ids, found[k * count : (k + 1) * count], strict=True):
                    verdict = {n: getattr(one, n) for n in BOXES.names if n != "product_id"}
                    writer.add({"product_id": name, **verdict})
            progress.advance(count)
    return reasons
