"""The stage that writes one clean text per product: texts and traces, in catalogue order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.catalog.format.errors import ImageError
from components.catalog.format.images import reencode
from components.catalog.format.parquet import RowWriter
from components.catalog.format.records import PAIRS
from components.catalog.format.schema import read_schema
from components.encoder.model.features.held_out import read_rows
from components.encoder.model.features.pixels import LIMITS, ROWS_AT_ONCE, shard_paths
from components.encoder.model.params import CACHE
from components.llm.open_model import open_model
from components.llm.params import LLMParams
from components.llm.session import ChatSession, check_failures, in_order
from components.retrieval.embeddings import read_embeddings
from components.stage.progress import Progress
from components.stage.publish import published
from components.stage.record import Record
from components.stage.resume import sha256_file
from components.vlclip.agent.agent import Agent, Clarified
from components.vlclip.agent.evidence import Evidence
from components.vlclip.agent.fact_book import FactBook
from components.vlclip.agent.offline import VERSION, offline_rules
from components.vlclip.agent.params import ClarifyParams
from components.vlclip.agent.picture_judges import TextEncoder, Vectors
from components.vlclip.model.errors import TextDataError

TEXTS = pa.schema(
    [
        ("product_id", pa.string()),
        ("text", pa.string()),
        ("rounds", pa.int8()),  # judgements of the Evaluator
        ("stopped", pa.bool_()),  # whether it was content at last
        ("facts_removed", pa.int16()),  # statements and words of drafts that had no ground
        ("facts", PAIRS),  # what the text states, checked
        ("reason", pa.string()),  # why the seller's text was kept; empty when it was not
    ]
)
TRACES = pa.schema(
    [("product_id", pa.string()), ("round", pa.int8()), ("role", pa.string()), ("output", pa.string())]
)


@dataclass
class Tally:
    """What the stage did, for the record."""

    rounds: int = 0
    stopped: int = 0
    removed: int = 0
    failed: int = 0
    first_reason: str = ""


def clarify_catalogue(
    params: ClarifyParams,
    llm_params: LLMParams,
    catalogue: Path,
    embeddings: Path,
    model: Path,
    out: Path,
    record: Record,
    cache: Path = CACHE,
) -> None:
    """Write ``out/texts.parquet`` and ``out/traces.parquet``.

    Args:
        catalogue, embeddings, model: folders of the checked catalogue, its pictures' vectors, the encoder.
        cache: folder of kept answers and vectors; deleting it changes no result.

    Raises:
        TextDataError: the vectors are not those of this catalogue and encoder.
        BudgetSpentError, EndpointError: the work stops; run again, and it goes on.
        TooManyFailuresError: too many products got no usable answer.
    """
    with record.timed("facts"):
        rows = read_rows(catalogue)
        book = _fact_book(params, rows, catalogue, embeddings, model, cache)
    chat = open_model(llm_params, offline_rules(book.composer), VERSION)
    tally = Tally()
    with published(out) as folder, record.timed("texts"):
        folder.mkdir(parents=True)
        pictures = _pictures(catalogue, params) if chat.sees_pictures else repeat(None)
        session = ChatSession(chat, llm_params, cache / "replies")
        asyncio.run(_write(session, params, rows, book, pictures, folder, tally))
        record.metrics = _figures(session, tally, rows, book)
        check_failures(tally.failed, len(rows), llm_params, tally.first_reason)
    record.outputs = [str(out)]


def _fact_book(
    params: ClarifyParams,
    rows: Sequence[dict[str, Any]],
    catalogue: Path,
    embeddings: Path,
    model: Path,
    cache: Path,
) -> FactBook:
    ids, images, meta = read_embeddings(embeddings)
    if ids != [r["product_id"] for r in rows] or meta.get("model_sha256") != _model_sha256(model):
        raise TextDataError(
            f"{embeddings} was not made from {catalogue} with {model}; run the embeddings stage again."
        )
    schema = read_schema(catalogue / "schema.json")
    evidence = Evidence(rows, _unit(images), _text_encoder(params, model, cache), schema, params.evidence)
    return FactBook(rows, evidence, schema, params)


def _model_sha256(model: Path) -> str:
    try:
        return sha256_file(model / "model.safetensors")
    except OSError:
        raise TextDataError(f"There is no encoder at {model}; run 'vitrine run encoder'.") from None


def _text_encoder(params: ClarifyParams, model: Path, cache: Path) -> TextEncoder:
    """Encodes texts; the model is read at the first call, for the probe makes none."""

    def _encode(texts: Sequence[str]) -> Vectors:
        import torch

        from components.encoder.model.features.encode import BatchEncoder
        from components.encoder.model.towers.files import load_encoder

        torch.set_num_threads(params.threads)
        encoder = BatchEncoder(
            load_encoder(model), params.batch_size, params.precision, cache / "vectors.sqlite"
        )
        try:
            return encoder.texts(texts)
        finally:
            encoder.memo.close()

    return _encode


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    out: Vectors = vectors / np.maximum(lengths, 1e-9)
    return out


def _pictures(catalogue: Path, params: ClarifyParams) -> Iterator[bytes | None]:
    """Pictures as a chat model is shown them, in catalogue order; None for one that cannot be read."""
    for shard in shard_paths(catalogue):
        for batch in pq.ParquetFile(shard).iter_batches(ROWS_AT_ONCE, columns=["image"]):
            for data in batch.column("image").field("bytes").to_pylist():
                try:
                    yield reencode(data or b"", LIMITS, params.picture)
                except ImageError:
                    yield None


async def _write(
    session: ChatSession,
    params: ClarifyParams,
    rows: Sequence[dict[str, Any]],
    book: FactBook,
    pictures: Iterator[bytes | None],
    folder: Path,
    tally: Tally,
) -> None:
    agent, progress = Agent(session, params), Progress("clarifying", len(rows), "products")

    async def _one(item: tuple[int, bytes | None]) -> Clarified:
        row, picture = item
        return await agent.clarify(rows[row], book.of(row), picture)

    items = zip(range(len(rows)), pictures, strict=False)
    try:
        with (
            RowWriter(folder / "texts.parquet", TEXTS) as texts,
            RowWriter(folder / "traces.parquet", TRACES) as traces,
        ):
            ids = chain(r["product_id"] for r in rows)
            async for done in in_order(_one, items, session.model.concurrency):
                _add(next(ids), done, texts, traces, tally)
                progress.advance()
    finally:
        await session.close()


def _add(product_id: str, done: Clarified, texts: RowWriter, traces: RowWriter, tally: Tally) -> None:
    texts.add(
        {
            "product_id": product_id,
            "text": done.text,
            "rounds": done.rounds,
            "stopped": done.stopped,
            "facts_removed": min(done.facts_removed, 32_767),
            "facts": [{"name": n, "value": v} for n, v in sorted(done.facts)],
            "reason": done.reason,
        }
    )
    for step in done.steps:
        traces.add({"product_id": product_id, "round": step.round, "role": step.role, "output": step.output})
    tally.rounds += done.rounds
    tally.stopped += done.stopped
    tally.removed += done.facts_removed
    if done.reason:
        tally.failed += 1
        tally.first_reason = tally.first_reason or f"product {product_id}: {done.reason}"


def _figures(
    session: ChatSession, tally: Tally, rows: Sequence[dict[str, Any]], book: FactBook
) -> dict[str, float]:
    products = max(len(rows), 1)
    return {
        "products": float(len(rows)),
        "rounds_per_product": tally.rounds / products,
        "stopped_fraction": tally.stopped / products,
        "facts_removed": float(tally.removed),
        "failed": float(tally.failed),
        "misspelt_words": float(len(book.spelling)),
        **{f"llm.{name}": value for name, value in session.figures().items()},
    }
