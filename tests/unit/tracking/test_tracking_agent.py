"""What a text agent was told, as prompts with versions; what it answered, as traces."""

from __future__ import annotations

import json
import pkgutil
from collections import Counter
from typing import Any

import pytest

from components.stage.record import Exchange, Record
from components.tracking.lineage.lockfile import read_lock
from components.tracking.publish.agent import conversations, prompt_name
from components.tracking.publish.publish import publish
from tests.unit.tracking.conftest import as_parquet

ROLES = ("summarizer", "evaluator", "refiner", "evaluator")
SAID = ("red hat", "Say: wool.", "red wool hat", "<STOP>")
PROMPTS = {"summarizer": 'Write {"text": "..."}', "evaluator": "Judge.", "refiner": "Rewrite."}


def asked(product: str, roles: tuple[str, ...] = ROLES) -> list[Exchange]:
    return [
        Exchange(
            product_id=product,
            task=role,
            started=1000.0 + i,
            seconds=0.5,
            prompt_tokens=10,
            completion_tokens=i,
        )
        for i, role in enumerate(roles)
    ]


def clarify(workspace, products: int = 3, prompts: dict[str, str] = PROMPTS, **record: Any) -> Record:
    """A run of the text agent: texts, traces, and the record of what its questions cost."""
    ids = [f"P{i}" for i in range(products)]
    texts = [{"product_id": i, "text": "red wool hat"} for i in ids]
    steps = [{"product_id": i, "role": r, "output": s} for i in ids for r, s in zip(ROLES, SAID, strict=True)]
    workspace.write("data/clarified/texts.parquet", as_parquet(texts))
    workspace.write("data/clarified/traces.parquet", as_parquet(steps))
    rows = [{"product_id": i, "title": f"HAT {i}", "split": "test"} for i in ids]
    workspace.write("data/checked/products/part-0.parquet", as_parquet(rows))
    workspace.stage("catalog_quality", ["data/checked"])
    own = {"exchanges": [e for i in ids for e in asked(i)], "prompts": prompts} | record
    return workspace.stage("clarify", ["data/clarified"], ["data/checked"], **own)


def client_of(workspace):
    from mlflow.tracking import MlflowClient

    return MlflowClient(f"sqlite:///{workspace.root}/mlruns/mlflow.db")


def traces(client) -> list[Any]:
    return list(client.search_traces(locations=[e.experiment_id for e in client.search_experiments()]))


@pytest.fixture(scope="module")
def done(new_workspace):
    """A workspace whose agent ran three times, the last time with another text for one role."""
    workspace = new_workspace()
    for prompts in (PROMPTS, PROMPTS, PROMPTS | {"refiner": "Rewrite it."}):
        clarify(workspace, prompts=prompts)
        assert publish(workspace.root).warnings == []
    return workspace, client_of(workspace)


def test_a_prompt_gets_a_version_only_when_its_text_changes(done) -> None:
    _, client = done
    versions = client.search_model_versions("tags.`mlflow.prompt.is_prompt` = 'true'")
    counts = Counter(version.name.rpartition("-")[2] for version in versions)
    assert counts == {"summarizer": 1, "evaluator": 1, "refiner": 2}
    names = {p.name for p in client.search_prompts()}
    assert names == {f"vitrine-clarify-{role}" for role in PROMPTS}
    assert client.get_prompt_version("vitrine-clarify-summarizer", "1").template == PROMPTS["summarizer"]


def test_runs_and_traces_name_the_versions_they_were_told(done) -> None:
    _, client = done
    experiments = [e.experiment_id for e in client.search_experiments()]
    runs = client.search_runs(
        experiments, "tags.`vitrine.stage` = 'clarify'", order_by=["attributes.start_time ASC"]
    )
    linked = [json.loads(run.data.tags["mlflow.linkedPrompts"]) for run in runs]
    refiners = [[p["version"] for p in one if p["name"].endswith("refiner")] for one in linked]
    assert refiners == [["1"], ["1"], ["2"]]
    newest = [t for t in traces(client) if t.info.trace_metadata["mlflow.sourceRun"] == runs[-1].info.run_id]
    assert {"name": "vitrine-clarify-refiner", "version": "2"} in json.loads(
        newest[0].info.tags["mlflow.linkedPrompts"]
    )


def test_a_trace_has_each_round_with_its_tokens_and_its_time(done) -> None:
    _, client = done
    found = traces(client)
    assert len(found) == 9 and {t.info.tags["vitrine.product"] for t in found} == {"P0", "P1", "P2"}
    (whole, *rounds) = found[0].data.spans
    assert [(s.name, s.outputs["answer"]) for s in rounds] == list(zip(ROLES, SAID, strict=True))
    assert whole.outputs == {"text": "red wool hat"} and {s.parent_id for s in rounds} == {whole.span_id}
    assert rounds[2].inputs["draft"] == "red hat" and rounds[2].inputs["critique"] == "Say: wool."
    assert rounds[2].get_attribute("mlflow.chat.tokenUsage")["output_tokens"] == 2
    assert rounds[0].end_time_ns - rounds[0].start_time_ns == 500_000_000
    told = {(t.info.request_preview, t.info.response_preview) for t in found}
    assert told == {(f"HAT P{i} (P{i})", "red wool hat") for i in range(3)}
    assert found[0].info.execution_duration == 3500 and str(found[0].info.state) == "OK"
    assert json.loads(found[0].info.trace_metadata["mlflow.trace.tokenUsage"])["total_tokens"] == 46


KILLED = (
    ("mlflow.tracking.MlflowClient", "register_prompt", 2),
    ("mlflow.tracking.client.TracingClient", "log_spans", 1),
    ("mlflow.tracking.client.TracingClient", "start_trace", 2),
)


def test_kills_between_prompts_and_traces_are_completed_by_the_next_sync_with_nothing_twice(
    workspace,
) -> None:
    clarify(workspace)
    for owner, call, at in KILLED:
        original, calls = getattr(pkgutil.resolve_name(owner), call), iter(range(1, 100))

        def dying(*arguments, original=original, calls=calls, at=at, **named):
            if next(calls) == at:
                raise KeyboardInterrupt
            return original(*arguments, **named)

        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(f"{owner}.{call}", dying)
            publish(workspace.root)
    assert publish(workspace.root).warnings == []
    client = client_of(workspace)
    before = {t.info.trace_id: [s.span_id for s in t.data.spans] for t in traces(client)}
    assert [len(spans) for spans in before.values()] == [5, 5, 5]
    for one in client.search_runs([e.experiment_id for e in client.search_experiments()]):
        if "vitrine.complete" in one.data.tags:  # as if it had been killed before its last call
            client.delete_tag(one.info.run_id, "vitrine.complete")
    for mark in (workspace.root / ".vitrine/published").rglob("*.json"):
        mark.unlink()
    assert publish(workspace.root).warnings == []
    assert {t.info.trace_id: [s.span_id for s in t.data.spans] for t in traces(client)} == before
    assert len(client.search_model_versions("tags.`mlflow.prompt.is_prompt` = 'true'")) == 3


def test_a_question_without_a_usable_answer_is_an_error_and_foreign_answers_are_no_trace(workspace) -> None:
    others = [*asked("P0", (*ROLES, "refiner")), *asked("P1", ("refiner",) * 4), *asked("P9")]
    clarify(workspace, exchanges=others)
    assert publish(workspace.root).warnings == []
    found = {t.info.tags["vitrine.product"]: t for t in traces(client_of(workspace))}
    assert str(found["P0"].info.state) == "ERROR"
    assert found["P0"].data.spans[-1].outputs == {"answer": "no usable answer"}
    assert found.keys() == {"P0"}


def test_at_most_twenty_products_have_traces(bare) -> None:
    record = clarify(bare, products=25)
    assert len(conversations(bare.root, record, read_lock(bare.root)["clarify"])) == 20


def test_names_of_prompts_carry_the_catalogue_in_signs_that_mlflow_takes() -> None:
    assert prompt_name("vitrine", "demo", "clarify", "refiner") == "vitrine-demo-clarify-refiner"
    assert prompt_name("vitrine", "é shop/2", "clarify (study)", "x") == "vitrine-_shop_2-clarify_study_-x"
