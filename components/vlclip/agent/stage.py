"""The stage that writes one clean text per product: texts and traces, in catalogue order."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from components.catalog.format.errors import ImageError
from components.catalog.format.images import reencode
from components.catalog.format.parquet import RowWriter
from components.catalog.format.records import PAIRS
from components.catalog.format.schema import read_schema
from components.encoder.model.features.pixels import LIMITS, ROWS_AT_ONCE, shard_paths
from components.encoder.model.features.rows import read_rows
from components.llm.open_model import open_model
from components.llm.params import LLMParams
from components.llm.session import ChatSession, Watched, check_failures, in_order
from components.retrieval.embeddings import read_embeddings
from components.stage.files.publish import published
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.progress import Progress
from components.stage.record import Record
from components.stage.sample import sampled
from components.vlclip.agent.agent import Agent, Clarified
from components.vlclip.agent.errors import VectorsDataError
from components.vlclip.agent.evidence import ValueProbabilities
from components.vlclip.agent.fact_book import FactBook
from components.vlclip.agent.offline import VERSION, offline_rules
from components.vlclip.agent.params import ClarifyParams

if TYPE_CHECKING:
    from components.encoder.model.features.encode import BatchEncoder

Vectors = npt.NDArray[np.float32]
WATCHED = 20  # products whose questions and answers can be looked at one by one
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


class Blocks(Params):
    """The parameters of the stage: the text agent, and the chat model that it may ask."""

    clarify: ClarifyParams
    llm: LLMParams


def run(params: Blocks, paths: Paths, record: Record) -> None:
    """Stage ``clarify``: ``texts.parquet`` and ``traces.parquet`` in the folder of clarified texts.

    Deleting the cache of answers and vectors changes no result.

    Raises:
        VectorsDataError: the vectors are not those of this catalogue and encoder.
        BudgetSpentError, EndpointError: the work stops; run again, and it goes on.
        TooManyFailuresError: too many products got no usable answer.
    """
    clarify, llm = params.clarify, params.llm
    with record.timed("facts"):
        rows = read_rows(paths.catalogue)
        book = _fact_book(clarify, rows, paths)
    chat = open_model(llm, offline_rules(book.composer), VERSION)
    with published(paths.clarified) as folder, record.timed("texts"):
        folder.mkdir(parents=True)
        pictures = _pictures(paths.catalogue, clarify) if chat.sees_pictures else repeat(None)
        session = ChatSession(chat, llm, paths.cache / "replies")
        agent = Agent(session, clarify)
        ids = [r["product_id"] for r in rows]
        watched = {i: Agent(Watched(session, i, record.exchanges), clarify) for i in sampled(ids, WATCHED)}
        record.prompts = agent.prompts

        async def _clarified(item: tuple[int, bytes | None]) -> Clarified:
            row, picture = item
            return await watched.get(ids[row], agent).clarify(rows[row], book.of(row), picture)

        done = in_order(_clarified, zip(range(len(rows)), pictures, strict=False), chat.concurrency)
        tally, reasons = asyncio.run(_write(ids, done, session, folder))
        record.metrics = {
            "products": float(len(rows)),
            "rounds_per_product": tally["rounds"] / max(len(rows), 1),
            "stopped_fraction": tally["stopped"] / max(len(rows), 1),
            "facts_removed": float(tally["facts_removed"]),
            "failed": float(len(reasons)),
            **{f"llm.{name}": value for name, value in session.figures().items()},
        }
        check_failures(len(reasons), len(rows), llm, reasons[0] if reasons else "")
    record.outputs = [str(paths.clarified)]


def _fact_book(params: ClarifyParams, rows: Sequence[dict[str, Any]], paths: Paths) -> FactBook:
    """The facts of every product, from vectors that must be of this catalogue and encoder."""
    ids, images, meta = read_embeddings(paths.embeddings)
    if ids != [r["product_id"] for r in rows] or meta.get("model_sha256") != _model_sha256(paths.encoder):
        raise VectorsDataError(
            f"{paths.embeddings} was not made from {paths.catalogue} with {paths.encoder}; run the "
            "embeddings stage again."
        )
    schema = read_schema(paths.catalogue / "schema.json")
    evidence = ValueProbabilities(rows, _unit(images), LazyEncoder(params, paths), schema, params.evidence)
    return FactBook(rows, evidence, schema, params)


def _model_sha256(model: Path) -> str:
    from components.encoder.model.errors import ModelFileError
    from components.encoder.model.towers.files import model_sha256

    try:
        return model_sha256(model)
    except ModelFileError:
        raise VectorsDataError(f"There is no encoder at {model}; run 'vitrine run encoder'.") from None


class LazyEncoder:
    """Encodes texts; the model is read at the first call, for evidence without prompts makes none."""

    def __init__(self, params: ClarifyParams, paths: Paths) -> None:
        self._params, self._paths = params, paths

    def texts(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors ``[n, D]``."""
        import torch

        torch.set_num_threads(self._params.threads)
        return self._encoder.texts(texts)

    @cached_property
    def _encoder(self) -> BatchEncoder:
        from components.encoder.model.features.encode import BatchEncoder
        from components.encoder.model.towers.files import comparable_encoder

        known = self._paths.cache / "vectors"
        model, params = comparable_encoder(self._paths.encoder, self._paths.embeddings), self._params
        return BatchEncoder(model, params.batch_size, params.precision, known)


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
    ids: Sequence[str], clarified: AsyncIterator[Clarified], session: ChatSession, folder: Path
) -> tuple[Counter[str], list[str]]:
    """Write every product's text and trace into ``folder``, in order; counts, and why some failed."""
    progress, names = Progress("clarifying", len(ids), "products"), iter(ids)
    tally, reasons = Counter[str](), list[str]()
    try:
        with (
            RowWriter(folder / "texts.parquet", TEXTS) as texts,
            RowWriter(folder / "traces.parquet", TRACES) as traces,
        ):
            async for done in clarified:
                name = next(names)
                texts.add(_text_row(name, done))
                for step in done.steps:
                    traces.add({"product_id": name, **asdict(step)})
                tally.update(rounds=done.rounds, stopped=done.stopped, facts_removed=done.facts_removed)
                reasons += [f"product {name}: {done.reason}"] if done.reason else []
                progress.advance()
    finally:
        await session.close()
    return tally, reasons


def _text_row(product_id: str, done: Clarified) -> dict[str, Any]:
    return {
        "product_id": product_id,
        "text": done.text,
        "rounds": done.rounds,
        "stopped": done.stopped,
        "facts_removed": min(done.facts_removed, 32_767),
        "facts": [{"name": n, "value": v} for n, v in sorted(done.facts)],
        "reason": done.reason,
    }
