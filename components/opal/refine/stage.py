"""The refinement stage: judges over every listing, then instruction samples, streamed batch by batch."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from components.catalog.format.attributes import pairs
from components.catalog.format.records import PAIRS
from components.catalog.format.shards import Catalogue
from components.evidence.listing import SellerListing
from components.llm.params import LLMParams
from components.opal.model.errors import NoAttributesError
from components.opal.model.printed.reader import PrintedTextReader, open_reader
from components.opal.refine.decisions import DECISIONS, Refined, decision_table, refine
from components.opal.refine.instructions import INSTRUCTIONS, InstructionWriter, instruction_table
from components.opal.refine.judge import JudgeInputs
from components.opal.refine.judge_panel import JudgePanel, open_panel
from components.opal.refine.listings import listing_batches
from components.opal.refine.observed import observe
from components.opal.refine.params import RefineParams
from components.stage.files.publish import published
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.progress import Progress
from components.stage.record import Record

PRODUCTS = pa.schema(
    [
        *[(n, pa.string()) for n in ("product_id", "split", "category", "product_type", "title")],
        ("attributes", PAIRS),  # sorted by name
        ("visible", pa.list_(pa.string())),  # names of those whose values a picture can tell
    ]
)
PRINTED = pa.field("printed", pa.list_(pa.string()))  # and words on the picture, where pictures are read
READ_AT_ONCE = 64  # pictures in memory while they are read


class Blocks(Params):
    """What the stage reads of params.yaml; ``llm`` is asked only where ``refine.mllm`` says so."""

    refine: RefineParams
    llm: LLMParams


def _keep_rates(counts: Counter[str]) -> dict[str, float]:
    """The share of values, and of title words, that stayed as they were or in another form."""
    out = {}
    for name in ("attributes", "title"):
        keep, normalise, drop = (counts[f"{name}.{verb}"] for verb in ("keep", "normalise", "drop"))
        if keep + normalise + drop:
            out[f"{name}.keep_rate"] = (keep + normalise) / (keep + normalise + drop)
    return out


def _write(
    folder: Path,
    batches: Iterable[list[Refined]],
    visible: frozenset[str],
    writer: InstructionWriter,
    products: pa.Schema,
) -> Counter[str]:
    """Write listings, the decisions about them, and the instruction samples that they give; counts of all."""
    counts: Counter[str] = Counter()
    schemas = {"products": products, "decisions": DECISIONS, "instructions": INSTRUCTIONS}
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        files = {
            name: stack.enter_context(
                pq.ParquetWriter(folder / f"{name}.parquet", schema, compression="zstd")
            )
            for name, schema in schemas.items()
        }
        for refined in batches:
            samples = [sample for r in refined for sample in writer.write(r.listing)]
            tables = {
                "products": _products(refined, visible, products),
                "decisions": decision_table(refined),
                "instructions": instruction_table(samples),
            }
            for name, table in tables.items():
                if len(table):
                    files[name].write_table(table)
            counts.update(products=len(refined), instructions=len(samples))
            counts.update(f"{d.field}.{d.decision}" for r in refined for d in r.decisions)
    return counts


def _products(refined: list[Refined], visible: frozenset[str], schema: pa.Schema) -> pa.Table:
    """Refined listings as rows of a schema: ``PRODUCTS``, with ``PRINTED`` or without."""
    rows = [
        {
            **{name: getattr(r.listing, name) for name in PRODUCTS.names[:5]},
            "attributes": pairs(r.listing.attributes),
            "visible": sorted(visible & set(r.listing.attributes)),
            PRINTED.name: sorted(r.listing.printed),
        }
        for r in refined
    ]
    return pa.Table.from_pylist(rows, schema=schema)


def run(params: Blocks, paths: Paths, record: Record) -> None:
    """Refine every listing and write products, decisions, instructions and calibration.

    Memory holds one batch of listings, and what the schema's size decides; products do not add to it.

    Raises:
        NoAttributesError: no category has an attribute.
        ListingDataError: picture vectors are missing or are not those of this catalogue.
        CatalogueError, ModelFileError: an input is missing or damaged.
        ListingConfigurationError: pictures are to be read, and the extra for it is not installed.
        BudgetSpentError, EndpointError, TooManyFailuresError: the chat model gave no more, or no usable,
            answers; the ones it gave are kept for the next run.
    """
    how, schema = params.refine, Catalogue(paths.catalogue).schema
    if not any(category.attributes for category in schema.categories.values()):
        raise NoAttributesError(
            "No category of this catalogue has an attribute, and a listing is made of attributes; name your "
            "attribute fields under 'attributes' in the mapping of the import."
        )
    torch.set_num_threads(how.threads)
    reading = open_reader(how.printed_text, paths.cache, how.threads)
    with reading as reader, tempfile.TemporaryDirectory(prefix="vitrine-refine-") as scratch:
        if reader is not None:
            with record.timed("read_text"):
                record.metrics["pictures_with_words"] = float(_read_all(reader, paths))
        with record.timed("observe"):
            observed = observe(_batches(how, paths), schema, how, Path(scratch))
        with record.timed("calibrate"):
            panel = open_panel(JudgeInputs(how, params.llm, paths, schema, observed))
        record.prompts = panel.prompts
        writer = InstructionWriter(how.instructions, schema, panel.visible, how.seed)
        with closing(panel), closing(observed.siblings), published(paths.refined) as folder:
            products = PRODUCTS if reader is None else PRODUCTS.append(PRINTED)
            with record.timed("refine"):
                batches = _refined(_batches(how, paths, how.mllm is not None, reader), panel, paths)
                counts = _write(folder, batches, panel.visible, writer, products)
            figures = panel.figures()
            text = json.dumps(panel.report, indent=1, sort_keys=True) + "\n"
            (folder / "calibration.json").write_text(text, encoding="utf-8")
    refused = {f"refused.{g}": float(n) for g, n in sorted(writer.refused.items())}
    record.metrics |= {name: float(count) for name, count in sorted(counts.items())}
    record.metrics |= _keep_rates(counts) | figures | refused
    seconds = record.timings["observe"] + record.timings["calibrate"] + record.timings["refine"]
    record.metrics["products_per_second"] = counts["products"] / max(seconds, 1e-9)
    record.outputs = [str(paths.refined)]


def _read_all(reader: PrintedTextReader, paths: Paths) -> int:
    """Read every picture once, so that the judges find its words in the cache; how many have any."""
    progress = Progress("reading printed text", Catalogue(paths.catalogue).product_count, "pictures")
    found = 0
    for batch in listing_batches(paths.catalogue, None, READ_AT_ONCE, pictures=True):
        for listing in batch:
            found += bool(reader.words(listing.image))
            progress.advance(1)
    return found


def _refined(
    batches: Iterable[list[SellerListing]], panel: JudgePanel, paths: Paths
) -> Iterator[list[Refined]]:
    """Listings after all judges, with a line of progress."""
    progress = Progress("refining", Catalogue(paths.catalogue).product_count, "listings")
    for batch in batches:
        yield refine(batch, panel.judges)
        progress.advance(len(batch))


def _batches(
    params: RefineParams, paths: Paths, pictures: bool = False, reader: PrintedTextReader | None = None
) -> Iterator[list[SellerListing]]:
    """Listings of the catalogue, with picture vectors where a judge asks them, and printed words."""
    vectors = paths.embeddings if params.support else None
    shown = pictures or reader is not None
    for batch in listing_batches(paths.catalogue, vectors, params.batch_products, shown):
        yield batch if reader is None else [replace(x, printed=reader.words(x.image)) for x in batch]
