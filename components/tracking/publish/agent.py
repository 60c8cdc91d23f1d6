"""What chat models were told, as prompts in MLflow's registry; what they answered, as traces.

A prompt gets a new version only when its text is new. A trace holds an agent's rounds about one product of a
sample: what each role said, tokens and time. What was said is an output of the stage (``traces.parquet``);
when and at what cost stands in its record. Ids are made from the record's: a trace written again is the same.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.stage.record import Exchange, Record
from components.tracking.lineage.lockfile import LockEntry, located
from components.tracking.publish.datasets import checked_files
from components.tracking.publish.run_content import StageRun, stage_name
from components.tracking.store import in_catalogue, once

SHA256 = "vitrine.sha256"  # tag of a version: hash of its text
STEPS, TEXTS = "traces.parquet", "texts.parquet"
MOST = 20  # products
EVALUATOR = "evaluator"  # the role that judges a draft and writes none
PREVIEW = 900  # characters; MLflow cuts at 1,000
NANOSECONDS = 1e9


@dataclass(frozen=True)
class Prompt:
    """A version of a prompt in the registry."""

    name: str
    version: int


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

    @property
    def span(self) -> tuple[float, float]:
        """From the first question to the last answer, Unix seconds."""
        return self.exchanges[0].started, max(one.started + one.seconds for one in self.exchanges)


def log_conversations(stage: StageRun, root: Path, base: str) -> dict[str, str]:
    """Log what chat models were told and answered; the run's tag that links the prompts."""
    join, prompts = stage.join, {}
    for role, text in stage.record.prompts.items():
        name = prompt_name(base, join.catalogue, stage_name(stage.record.stage), role)
        told = f"What the {role} was told at commit {join.code.commit[:12] or 'unknown'}."
        prompts[role] = _registered(stage.client, name, text, told)
    log_traces(stage, conversations(root, stage.record, join.entry), prompts)
    return _linked(prompts)


def prompt_name(base: str, catalogue: str, stage: str, role: str) -> str:
    """``vitrine-demo-clarify-summarizer``; MLflow takes letters, digits, ``-``, ``_`` and ``.``."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", f"{in_catalogue(base, catalogue)}-{stage}-{role}")


def _registered(client: Any, name: str, text: str, told: str) -> Prompt:
    """The first version of a prompt with this text, made where there is none."""
    sha256 = _hash(text)
    query = f"name = '{name}' AND tags.`mlflow.prompt.is_prompt` = 'true' AND tags.`{SHA256}` = '{sha256}'"
    known = client.search_model_versions(query)
    if not known:
        with once():
            known = [client.register_prompt(name, text, commit_message=told, tags={SHA256: sha256})]
    return Prompt(name, min(int(version.version) for version in known))


def _linked(prompts: Mapping[str, Prompt]) -> dict[str, str]:
    """The tag that links prompts to a run or a trace, as ``link_prompt_version_to_run`` writes it.

    That call looks for the run in the tracker of the process, whatever the client's own is.
    """
    linked = [{"name": one.name, "version": str(one.version)} for one in prompts.values()]
    return {"mlflow.linkedPrompts": json.dumps(linked)} if linked else {}


def conversations(root: Path, record: Record, entry: LockEntry | None) -> list[ProductTrace]:
    """The sample's conversations, as far as the stage's outputs are here.

    An output may be of another execution: answers that are not those to the questions are left out.
    """
    asked: dict[str, list[Exchange]] = {}
    for one in record.exchanges:
        if one.product_id in asked or len(asked) < MOST:
            asked.setdefault(one.product_id, []).append(one)
    outs = entry.outs if entry and asked else ()
    files = {Path(path).name: file for out in outs for path, file in located(root, out).items()}
    if not {STEPS, TEXTS} <= files.keys():
        return []
    steps = _rows(files[STEPS], asked, ["product_id", "role", "output"])
    texts = _rows(files[TEXTS], asked, ["product_id", "text"])
    shards = [file for path, file in checked_files(root, entry).items() if path.startswith("products/")]
    rows = [row for shard in shards for row in _rows(shard, asked, ["product_id", "title"]).items()]
    titles = {product: str(held[0]["title"]) for product, held in rows}
    made = []
    for product, exchanges in asked.items():
        said = steps.get(product, [])
        theirs = [row["role"] for row in said] == [one.task for one in exchanges][: len(said)]
        if product in texts and theirs:
            answers, text = [str(row["output"]) for row in said], str(texts[product][0]["text"])
            made.append(ProductTrace(product, titles.get(product, ""), exchanges, answers, text))
    return made


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


def log_traces(stage: StageRun, found: Sequence[ProductTrace], prompts: Mapping[str, Prompt]) -> None:
    """Write the conversations as traces of the stage's run; writing them twice writes the same."""
    if not found:
        return
    from mlflow.entities import Span, TraceInfo, TraceLocation, TraceState
    from mlflow.tracing.client import TracingClient

    name, experiment = stage.record.stage, str(stage.run.info.experiment_id)
    tracing = TracingClient(stage.client.tracking_uri)
    ids = [_hash(f"{stage.record.id}:{one.product_id}")[:32] for one in found]
    spans = [span for id_, one in zip(ids, found, strict=True) for span in _spans(id_, name, one, prompts)]
    tracing.log_spans(experiment, [Span.from_dict(span) for span in spans])
    for id_, one in zip(ids, found, strict=True):
        told, (begin, end) = {e.task for e in one.exchanges}, one.span
        tags = _linked({role: prompt for role, prompt in prompts.items() if role in told})
        tokens = json.dumps(_tokens(one.exchanges))
        info = TraceInfo(
            trace_id=f"tr-{id_}",
            trace_location=TraceLocation.from_experiment_id(experiment),
            request_time=round(begin * 1000),
            execution_duration=round((end - begin) * 1000),
            state=TraceState.ERROR if one.failed else TraceState.OK,
            request_preview=f"{one.title} ({one.product_id})".strip(),
            response_preview=one.text[:PREVIEW],
            trace_metadata={"mlflow.sourceRun": stage.run.info.run_id, "mlflow.trace.tokenUsage": tokens},
            tags={"mlflow.traceName": name, "vitrine.product": one.product_id, **tags},
        )
        tracing.start_trace(info)


def _spans(
    trace: str, stage: str, one: ProductTrace, prompts: Mapping[str, Prompt]
) -> Iterator[dict[str, Any]]:
    """The stage's work on the product, and below it each role's answer, as ``Span.from_dict`` reads them."""

    def _span(
        place: object, name: str, lasted: tuple[float, float], failed: bool, **told: Any
    ) -> dict[str, Any]:
        written = {"mlflow.traceRequestId": f"tr-{trace}"} | {f"mlflow.{k}": v for k, v in told.items()}
        start, end = (round(second * NANOSECONDS) for second in lasted)
        return {
            "trace_id": f"tr-{trace}",
            "span_id": _hash(f"{trace}:{place}")[:16],
            "parent_span_id": _hash(f"{trace}:")[:16] if place != "" else None,
            "name": name,
            "start_time_unix_nano": start,
            "end_time_unix_nano": end,
            "status": {"code": "ERROR" if failed else "OK", "message": ""},
            "attributes": {key: json.dumps(value, ensure_ascii=False) for key, value in written.items()},
        }

    asked = {"product_id": one.product_id, "title": one.title}
    facts: dict[str, Any] = {"spanType": "AGENT", "spanInputs": asked, "spanOutputs": {"text": one.text}}
    yield _span("", stage, one.span, one.failed, **facts)
    draft, critique = "", ""
    for place, question in enumerate(one.exchanges):
        role, answered = question.task, place < len(one.said)
        output = one.said[place] if answered else "no usable answer"
        prompt = prompts.get(role)
        shown = {"prompt": f"prompts:/{prompt.name}/{prompt.version}" if prompt else role}
        shown |= {"draft": draft} if draft else {}
        shown |= {"critique": critique} if critique and role != EVALUATOR else {}
        facts = {"spanType": "CHAT_MODEL", "spanInputs": shown, "spanOutputs": {"answer": output}}
        facts |= {"chat.tokenUsage": _tokens([question])}
        lasted = (question.started, question.started + question.seconds)
        made = _span(place, role, lasted, not answered, **facts)
        made["attributes"]["attempts"] = json.dumps(question.attempts)
        yield made
        draft, critique = (draft, output) if role == EVALUATOR else (output, critique)


def _tokens(exchanges: Sequence[Exchange]) -> dict[str, int]:
    asked, answered = sum(e.prompt_tokens for e in exchanges), sum(e.completion_tokens for e in exchanges)
    return {"input_tokens": asked, "output_tokens": answered, "total_tokens": asked + answered}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
