"""An agent's rounds about a sample of products, as MLflow's traces: what each role said, tokens and time.

What was said is an output of the stage (``traces.parquet``), when and at what cost stands in its record.
Ids are made from the record's own: a trace written again is the same trace.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.stage.record import Exchange, Record
from components.tracking.agent.prompts import Prompt, linked_prompts
from components.tracking.lineage.lockfile import LockEntry, located
from components.tracking.publish.datasets import checked_data
from components.tracking.publish.writing import StageRun

STEPS, TEXTS = "traces.parquet", "texts.parquet"
MOST = 20  # products
EVALUATOR = "evaluator"  # the role that judges a draft and writes none
PREVIEW = 900  # characters; MLflow cuts at 1,000
NANOSECONDS = 1e9
Steps = Mapping[str, Sequence[Mapping[str, Any]]]  # product -> rows of ``traces.parquet``


@dataclass(frozen=True)
class ProductTrace:
    """What was asked about one product, and what was answered: an answer for each question, in order."""

    product_id: str
    title: str  # of the seller, as far as the catalogue is here
    exchanges: Sequence[Exchange]
    said: Sequence[str]  # shorter than the questions where the last one had no usable answer
    text: str  # what came of it

    @property
    def failed(self) -> bool:
        """Whether a question had no usable answer."""
        return len(self.said) < len(self.exchanges)


def conversations(root: Path, record: Record, entry: LockEntry | None) -> list[ProductTrace]:
    """The sample's conversations, as far as the stage's outputs are here."""
    asked: dict[str, list[Exchange]] = {}
    for one in record.exchanges:
        if one.product_id in asked or len(asked) < MOST:
            asked.setdefault(one.product_id, []).append(one)
    files = _files(root, entry) if asked else {}
    if not {STEPS, TEXTS} <= files.keys():
        return []
    steps = _rows(files[STEPS], asked, ["product_id", "role", "output"])
    texts = _rows(files[TEXTS], asked, ["product_id", "text"])
    titles = _titles(root, entry, asked)
    return [
        ProductTrace(product, titles.get(product, ""), exchanges, *_told(product, steps, texts))
        for product, exchanges in asked.items()
        if product in texts and _belong(steps.get(product, ()), exchanges)
    ]


def _belong(steps: Sequence[Mapping[str, Any]], exchanges: Sequence[Exchange]) -> bool:
    """Whether the answers are those to the questions: outputs may be of another execution."""
    return [row["role"] for row in steps] == [one.task for one in exchanges][: len(steps)]


def _files(root: Path, entry: LockEntry | None) -> dict[str, Path]:
    found = {path: file for out in (entry.outs if entry else ()) for path, file in located(root, out).items()}
    return {Path(path).name: file for path, file in found.items()}


def _rows(file: Path, asked: Mapping[str, Any], columns: list[str]) -> dict[str, list[dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    found: dict[str, list[dict[str, Any]]] = {}
    try:
        rows = pq.read_table(file, columns=columns, filters=[("product_id", "in", list(asked))]).to_pylist()
    except (pa.ArrowException, OSError):  # notes of a stage that was left out, or another stage's file
        return {}
    for row in rows:
        found.setdefault(row["product_id"], []).append(row)
    return found


def _titles(root: Path, entry: LockEntry | None, asked: Mapping[str, Any]) -> dict[str, str]:
    data = checked_data(entry)
    shards = [file for path, file in (located(root, data) if data else {}).items() if "/products/" in path]
    rows = (row for shard in shards for row in _rows(shard, asked, ["product_id", "title"]).items())
    return {product: str(found[0]["title"]) for product, found in rows}


def _told(product: str, steps: Steps, texts: Steps) -> tuple[list[str], str]:
    final = next(iter(texts.get(product, ())), {"text": ""})
    return [str(row["output"]) for row in steps.get(product, ())], str(final["text"])


def log_traces(stage: StageRun, found: Sequence[ProductTrace], prompts: Mapping[str, Prompt]) -> None:
    """Write the conversations as traces of the stage's run; writing them twice writes the same."""
    from mlflow.entities import Span
    from mlflow.tracing.client import TracingClient

    if not found:
        return
    name, experiment = stage.record.stage, str(stage.run.info.experiment_id)
    tracing = TracingClient(stage.client.tracking_uri)
    ids = {one.product_id: _hash(f"{stage.record.id}:{one.product_id}", 32) for one in found}
    spans = [span for one in found for span in _spans(ids[one.product_id], name, one, prompts)]
    tracing.log_spans(experiment, [Span.from_dict(span) for span in spans])
    for one in found:
        told = {e.task for e in one.exchanges}
        tags = linked_prompts({role: prompt for role, prompt in prompts.items() if role in told})
        tracing.start_trace(_info(ids[one.product_id], stage, one, tags))


def _info(trace: str, stage: StageRun, one: ProductTrace, tags: Mapping[str, str]) -> Any:
    from mlflow.entities import TraceInfo, TraceLocation, TraceState

    begin, end = one.exchanges[0].started, _end(one)
    metadata = {
        "mlflow.sourceRun": stage.run.info.run_id,
        "mlflow.trace.tokenUsage": json.dumps(_tokens(one.exchanges)),
    }
    return TraceInfo(
        trace_id=f"tr-{trace}",
        trace_location=TraceLocation.from_experiment_id(str(stage.run.info.experiment_id)),
        request_time=round(begin * 1000),
        execution_duration=round((end - begin) * 1000),
        state=TraceState.ERROR if one.failed else TraceState.OK,
        request_preview=f"{one.title} ({one.product_id})".strip(),
        response_preview=one.text[:PREVIEW],
        trace_metadata=metadata,
        tags={"mlflow.traceName": stage.record.stage, "vitrine.product": one.product_id, **tags},
    )


def _spans(
    trace: str, stage: str, one: ProductTrace, prompts: Mapping[str, Prompt]
) -> Iterator[dict[str, Any]]:
    """The stage's work on the product, and below it each role's answer."""
    root = _hash(f"{trace}:", 16)
    whole = {
        "mlflow.spanType": "AGENT",
        "mlflow.spanInputs": {"product_id": one.product_id, "title": one.title},
        "mlflow.spanOutputs": {"text": one.text},
    }
    own = {"span_id": root, "parent_span_id": None, "name": stage}
    yield _span(trace, own | _lasted(one.exchanges[0].started, _end(one), one.failed), whole)
    draft, critique = "", ""
    for place, asked in enumerate(one.exchanges):
        answered = place < len(one.said)
        output = one.said[place] if answered else "no usable answer"
        shown = {"prompt": prompts[asked.task].address if asked.task in prompts else asked.task}
        shown |= {"draft": draft} if draft else {}
        shown |= {"critique": critique} if critique and asked.task != EVALUATOR else {}
        attributes = {
            "mlflow.spanType": "CHAT_MODEL",
            "mlflow.spanInputs": shown,
            "mlflow.spanOutputs": {"answer": output},
            "mlflow.chat.tokenUsage": _tokens([asked]),
            "attempts": asked.attempts,
        }
        own = {"span_id": _hash(f"{trace}:{place}", 16), "parent_span_id": root, "name": asked.task}
        lasted = _lasted(asked.started, asked.started + asked.seconds, not answered)
        yield _span(trace, own | lasted, attributes)
        if asked.task == EVALUATOR:
            critique = output
        else:
            draft = output


def _lasted(start: float, end: float, failed: bool) -> dict[str, Any]:
    times = {
        "start_time_unix_nano": round(start * NANOSECONDS),
        "end_time_unix_nano": round(end * NANOSECONDS),
    }
    return times | {"status": {"code": "ERROR" if failed else "OK", "message": ""}}


def _span(trace: str, facts: Mapping[str, Any], attributes: Mapping[str, Any]) -> dict[str, Any]:
    """One span as MLflow's ``Span.from_dict`` reads it."""
    written = {"mlflow.traceRequestId": f"tr-{trace}", **attributes}
    texts = {key: json.dumps(value, ensure_ascii=False) for key, value in written.items()}
    return {"trace_id": f"tr-{trace}", **facts, "attributes": texts}


def _tokens(exchanges: Sequence[Exchange]) -> dict[str, int]:
    asked, answered = (
        sum(getattr(e, f"{kind}_tokens") for e in exchanges) for kind in ("prompt", "completion")
    )
    return {"input_tokens": asked, "output_tokens": answered, "total_tokens": asked + answered}


def _end(one: ProductTrace) -> float:
    return max(exchange.started + exchange.seconds for exchange in one.exchanges)


def _hash(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
