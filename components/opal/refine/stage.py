"""The refinement stage: judges over every listing, then instruction samples, streamed batch by batch."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from components.catalog.format.records import PAIRS
from components.catalog.format.shards import Catalogue, pairs
from components.llm.params import LLMParams
from components.opal.refine.decisions import DECISIONS, Refined, decision_table, refine
from components.opal.refine.instructions import INSTRUCTIONS, InstructionWriter, instruction_table
from components.opal.refine.judge_panel import Bench, open_bench
from components.opal.refine.listings import listing_batches
from components.opal.refine.observed import observe
from components.opal.refine.params import RefineParams
from components.stage.progress import Progress
from components.stage.publish import published
from components.stage.record import Record

PRODUCTS = pa.schema(
    [
        *[(n, pa.string()) for n in ("product_id", "split", "category", "product_type", "title")],
        ("attributes", PAIRS),  # sorted by name
        ("visible", pa.list_(pa.string())),  # names of those whose values a picture can tell
    ]
)


@dataclass
class Tally:
    """Counts for the record."""

    counts: Counter[str] = field(default_factory=Counter)

    def add(self, refined: Refined) -> None:
        """Count one listing's decisions."""
        self.counts["products"] += 1
        for decision in refined.decisions:
            self.counts[f"{decision.field}.{decision.decision}"] += 1

    def metrics(self) -> dict[str, float]:
        """Counts, and the share of values and of title words that stayed as they were or in another form."""
        out = {name: float(count) for name, count in sorted(self.counts.items())}
        for name in ("attributes", "title"):
            parts = [self.counts[f"{name}.{verb}"] for verb in ("keep", "normalise", "drop")]
            if sum(parts):
                out[f"{name}.keep_rate"] = (parts[0] + parts[1]) / sum(parts)
        return out


class Writers:
    """The stage's three files, open for appending; use as a context manager."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._files = {
            name: pq.ParquetWriter(folder / f"{name}.parquet", schema, compression="zstd")
            for name, schema in (
                ("products", PRODUCTS), ("decisions", DECISIONS), ("instructions", INSTRUCTIONS)
            )
        }  # fmt: skip

    def write(self, name: str, table: pa.Table) -> None:
        """Append rows."""
        if len(table):
            self._files[name].write_table(table)

    def __enter__(self) -> Writers:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()


def _products(refined: list[Refined], visible: frozenset[str]) -> pa.Table:
    """Refined listings as rows of ``PRODUCTS``."""
    rows = [
        {
            **{name: getattr(r.listing, name) for name in PRODUCTS.names[:5]},
            "attributes": pairs(r.listing.attributes),
            "visible": sorted(visible & set(r.listing.attributes)),
        }
        for r in refined
    ]
    return pa.Table.from_pylist(rows, schema=PRODUCTS)


def refine_and_publish(
    params: RefineParams,
    chat: LLMParams,
    catalogue: Path,
    encoder: Path,
    embeddings: Path,
    target: Path,
    record: Record,
) -> None:
    """Refine every listing of ``catalogue`` and write products, decisions, instructions and calibration.

    Memory holds one batch of listings, and what the schema's size decides; products do not add to it.

    Raises:
        ListingDataError: picture vectors are missing or are not those of this catalogue.
        CatalogueError, ModelFileError: an input is missing or damaged.
        BudgetSpentError, EndpointError, TooManyFailuresError: the chat model gave no more, or no usable,
            answers; the ones it gave are kept for the next run.
    """
    torch.set_num_threads(params.threads)
    source, vectors = Catalogue(catalogue), embeddings if params.support else None
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="vitrine-refine-") as scratch:
        with record.timed("observe"):
            batches = listing_batches(catalogue, vectors, params.batch_products)
            observed = observe(batches, source.schema, params, Path(scratch))
        with record.timed("calibrate"):
            bench = open_bench(params, chat, catalogue, encoder, embeddings, observed)
        writer = InstructionWriter(params.instructions, source.schema, bench.visible, params.seed)
        with closing(bench), closing(observed.siblings), published(target) as folder:
            with record.timed("refine"):
                _write(params, catalogue, vectors, bench, writer, tally, folder)
            figures = bench.figures()
            text = json.dumps(bench.report, indent=1, sort_keys=True) + "\n"
            (folder / "calibration.json").write_text(text, encoding="utf-8")
    record.metrics = (
        tally.metrics() | figures | {f"refused.{g}": float(n) for g, n in sorted(writer.refused.items())}
    )
    seconds = record.timings["observe"] + record.timings["calibrate"] + record.timings["refine"]
    record.metrics["products_per_second"] = tally.counts["products"] / max(seconds, 1e-9)
    record.outputs = [str(target)]


def _write(
    params: RefineParams,
    catalogue: Path,
    vectors: Path | None,
    bench: Bench,
    writer: InstructionWriter,
    tally: Tally,
    folder: Path,
) -> None:
    """Refine the catalogue batch by batch into the folder's files."""
    progress = Progress("refining", Catalogue(catalogue).product_count, "listings")
    with Writers(folder) as files:
        pictures = params.mllm is not None
        for batch in listing_batches(catalogue, vectors, params.batch_products, pictures):
            refined = refine(batch, bench.judges)
            files.write("products", _products(refined, bench.visible))
            files.write("decisions", decision_table(refined))
            samples = [sample for r in refined for sample in writer.write(r.listing)]
            files.write("instructions", instruction_table(samples))
            tally.counts["instructions"] += len(samples)
            for r in refined:
                tally.add(r)
            progress.advance(len(batch))
