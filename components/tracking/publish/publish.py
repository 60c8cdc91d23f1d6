"""Records become MLflow runs: one run per execution of a stage, under one parent per pipeline run.

Stages do not use MLflow, and DVC hashes outputs only after a stage command has ended; so runs are made
afterwards, by joining a record with dvc.lock. Publishing may fail, be killed or be repeated at any moment:
a record counts as published when its mark is written, which is the last thing that happens, and writing a
run again completes it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.stage.errors import VitrineError
from components.stage.files.publish import remove
from components.stage.params import load_params
from components.stage.record import Record
from components.tracking.agent.prompts import linked_prompts, prompt_name, register_prompts
from components.tracking.agent.traces import conversations, log_traces
from components.tracking.errors import LockFileError, TrackerUnavailableError
from components.tracking.examples.shown import IMAGES_TAG, StageEvaluation, Who, read_shown
from components.tracking.faults import meaning
from components.tracking.params import TrackingParams
from components.tracking.publish import pending as waiting
from components.tracking.publish import run_content as content
from components.tracking.publish.datasets import dataset_inputs, evaluated_split
from components.tracking.publish.evaluations import evaluated, log_evaluation, log_validation
from components.tracking.publish.headline import Tables
from components.tracking.publish.models import log_model, trained_models
from components.tracking.publish.pending import Join, Origin, link_cached, pending, start_pipeline
from components.tracking.publish.runs import is_deleted
from components.tracking.publish.summary import summarise
from components.tracking.publish.views import describe
from components.tracking.publish.writing import Entries, StageRun, log, milliseconds
from components.tracking.store import (
    Store,
    check,
    connect,
    experiment_of,
    experiments_of,
    once,
    store_of,
)

__all__ = ["PublishResult", "link_cached", "pending", "publish", "start_pipeline", "tracking_params"]

WAIT_FOR_OTHER_S = 60.0
INTERRUPTED = 130  # exit code of a stage that Ctrl-C stopped


@dataclass
class PublishResult:
    """What a publish did; ``waiting`` records are still to be published, and ``warnings`` say why."""

    published: dict[str, str] = field(default_factory=dict)  # record id -> MLflow run id
    parents: dict[str, str] = field(default_factory=dict)  # pipeline run id -> MLflow run id
    linked: dict[str, str] = field(default_factory=dict)  # cached stage -> MLflow run id that made it
    waiting: int = 0
    warnings: list[str] = field(default_factory=list)


def tracking_params(root: Path) -> TrackingParams:
    """Block ``tracking`` of the workspace's params.yaml (or of the file named by ``VITRINE_PARAMS``).

    Raises:
        ConfigurationError: the file or block is missing or wrong.
    """
    return load_params("tracking", TrackingParams, root / os.environ.get("VITRINE_PARAMS", "params.yaml"))


def publish_run(root: Path, run_id: str, cached: Sequence[str]) -> list[str]:
    """Write what a pipeline run computed, and what it found ``cached``; returns what went wrong."""
    try:
        link_cached(root, run_id, list(cached))
        return publish(root).warnings if pending(root) else []
    except (VitrineError, OSError) as error:
        return [f"not recorded in MLflow yet: {error}"]


def publish(
    root: Path, records: list[Path] | None = None, params: TrackingParams | None = None
) -> PublishResult:
    """Publish the workspace's waiting records and links (or the given record files) to MLflow.

    A store that is down, locked or broken is no failure: records wait, and ``warnings`` says so. Imports
    MLflow only when there is something to publish and the store answers.

    Raises:
        ConfigurationError: params.yaml has no valid block ``tracking`` (and ``params`` is not given).
    """
    root = root.resolve()
    params = params or tracking_params(root)
    store = store_of(root)
    result = PublishResult()
    try:
        with waiting.publishing(root, WAIT_FOR_OTHER_S) as held:
            if held:
                _publish(root, store, params, records, result)
            else:
                result.warnings.append(
                    "Another sync of this workspace is running; run vitrine sync when it has ended."
                )
    except (LockFileError, TrackerUnavailableError) as error:
        result.warnings.append(str(error))
    except Exception as error:  # whatever the tracker raises, a pipeline that has done its work must not fail
        result.warnings.append(_failure(store, error))
    result.waiting = len(waiting.unpublished(root, store, records))
    return result


def _failure(store: Store, error: Exception) -> str:
    if known := meaning(store, error):
        return f"{known} Records wait."
    text = " ".join(str(error).split()).replace(store.uri, store.shown)
    what = f"{type(error).__name__}: {text[:300]}"
    return f"Publishing to {store.shown} failed ({what}); records wait, run vitrine sync again."


def _publish(
    root: Path, store: Store, params: TrackingParams, paths: list[Path] | None, result: PublishResult
) -> None:
    loaded, warnings = waiting.load_records(waiting.unpublished(root, store, paths))
    result.warnings += warnings
    # Joins first: they must be fixed even when the store is down.
    joins = waiting.join_records(root, loaded)
    links = waiting.queued_links(root)
    left_open = waiting.opened(root, store)
    if not loaded and not links and not left_open:
        return
    if store.missing():
        remove(waiting.marks(root, store))
    client = connect(store)
    if not experiments_of(client, params.experiment, deleted=True):
        # a new store behind an old address: what was published is not there any more
        remove(waiting.marks(root, store))
        loaded, _ = waiting.load_records(waiting.unpublished(root, store, paths))
        joins = waiting.join_records(root, loaded)
        left_open = {}
    publisher = _Publisher(root, client, store, params, result)
    for record in loaded:
        publisher.guarded(record.id, lambda record=record: publisher.stage_run(record, joins[record.id]))
    for path, link in links.items():
        publisher.guarded(link.pipeline, lambda path=path, link=link: publisher.link(path, link))
    for pipeline, run_id in {**left_open, **result.parents}.items():
        publisher.guarded(pipeline, lambda p=pipeline, r=run_id: publisher.close_parent(p, r, joins))


@dataclass
class _Publisher:
    """One publish: the open store, the experiments of the catalogues, and the parents found so far."""

    root: Path
    client: Any
    store: Store
    params: TrackingParams
    result: PublishResult
    parents: dict[str, Any] = field(default_factory=dict)  # pipeline run id -> MLflow's run
    experiments: dict[str, str] = field(default_factory=dict)  # catalogue -> id

    def experiment(self, catalogue: str) -> str:
        """Id of the catalogue's experiment."""
        if catalogue not in self.experiments:
            self.experiments[catalogue] = experiment_of(
                self.client, self.store, self.params.experiment, catalogue
            )
            describe(self.client, self.experiments[catalogue], catalogue, self.params)
        return self.experiments[catalogue]

    def guarded(self, what: str, action: Any) -> None:
        """Do one record; one that MLflow refuses does not stop the next, a store that is gone does."""
        try:
            action()
        except Exception as error:
            check(self.store)
            if known := meaning(self.store, error):
                raise known from None
            self.result.warnings.append(f"{what}: {_failure(self.store, error)}")

    def find(self, tag: str, value: str) -> Any | None:
        """The first run made, in any catalogue's experiment, whose tag has this value."""
        everywhere = list(experiments_of(self.client, self.params.experiment))
        query = f"tags.`{tag}` = '{value}'"
        order = ["attributes.start_time ASC"]
        found = self.client.search_runs(everywhere, query, max_results=1, order_by=order)
        return found[0] if found else None

    def parent(self, pipeline: str, started: float, join: Origin) -> Any:
        """MLflow run of a pipeline run, made if it is not there."""
        if pipeline not in self.parents:
            experiment = self.experiment(join.catalogue)
            plain = pipeline.replace("'", "_")  # MLflow's filter language has no escape
            run = self.find("vitrine.pipeline", plain)
            if run is None:
                own = {key: value for key, value in content.common_tags(join).items() if value}
                own |= {"vitrine.kind": "pipeline", "vitrine.pipeline": plain}
                name = content.pipeline_name(join, started)
                with once():
                    run = self.client.create_run(
                        experiment, start_time=milliseconds(started), tags=own, run_name=name
                    )
            waiting.note_opened(self.root, self.store, pipeline, run.info.run_id)
            self.parents[pipeline] = run
            self.result.parents[pipeline] = run.info.run_id
        return self.parents[pipeline]

    def stage_run(self, record: Record, join: Join) -> None:
        """Make, or complete, the run of one record, and mark the record as published."""
        parent = self.parent(join.pipeline, record.started, join)
        tags = content.tags(record, join) | {"mlflow.parentRunId": parent.info.run_id}
        run = self.find("vitrine.record", record.id)
        if run is None:
            # All tags at creation: a run found after a crash can always be identified and completed.
            with once():
                run = self.client.create_run(
                    parent.info.experiment_id,
                    start_time=milliseconds(record.started),
                    tags=tags,
                    run_name=content.stage_name(record.stage),
                )
        if run.data.tags.get("vitrine.complete") != "true":
            self.fill(run, record, join)
        waiting.mark(self.root, self.store, record.id, run.info.run_id)
        self.result.published[record.id] = run.info.run_id

    def fill(self, run: Any, record: Record, join: Join) -> None:
        """Write parameters, figures, models and files, end the run, and only then call it complete."""
        run_id, ended = run.info.run_id, milliseconds(record.started + record.seconds)
        files = content.evidence(self.root, join, self.params.artifact_limit_bytes)
        tables = content.metric_tables(files)
        parameters = content.parameters(record, join)
        log(self.client, run_id, Entries(content.figures(record, tables, self.params), ended, parameters))
        shown = read_shown(self.root, join.entry, files if tables else {}, self.params)
        stage = StageRun(self.client, run, record, join)
        apart = self.models(stage, tables, shown)
        linked = self.agent(stage)
        if figures := content.pipeline_figures(tables, self.params):
            log(self.client, self.parents[join.pipeline].info.run_id, Entries(figures, ended))
        with tempfile.TemporaryDirectory(prefix="vitrine-") as folder:
            content.lay_out(Path(folder), record, join, files)
            more = shown.tables(tables)
            for name, text in more.items():
                (Path(folder) / name).write_text(text, encoding="utf-8")
            pictured = [shown.lay_out(Path(folder), who, record.id, ended) for who in apart]
            self.client.log_artifacts(run_id, folder)
        status = "FINISHED" if record.status == "finished" else "FAILED"
        if record.exit_code == INTERRUPTED:
            status = "KILLED"
        self.client.set_terminated(run_id, status, end_time=ended)
        tags = content.table_tag(content.logged_tables(record, tables) | more)
        tags |= linked | (IMAGES_TAG if any(pictured) else {})
        log(self.client, run_id, Entries(tags=tags | {"vitrine.complete": "true"}))

    def models(self, stage: StageRun, tables: Tables, shown: StageEvaluation) -> list[Who]:
        """The models that the stage trained or measured, and the data it read; systems without a model."""
        run, record, join = stage.run, stage.record, stage.join
        trained = trained_models(self.root, join)
        split = evaluated_split(record.parameters)
        splits = ("train", "validation") if trained else (split,) if tables else ()
        datasets = dataset_inputs(self.root, join, splits, "training" if trained else "evaluation")
        if datasets:
            self.client.log_inputs(run.info.run_id, datasets)
        for folder in trained:
            model = log_model(stage, self.root, folder)
            if len(trained) == 1:
                log_validation(stage, model, datasets)
        evaluations = evaluated(stage, self.root, tables, self.params)
        apart = shown.main_systems(tables) - {(one.table, one.variant) for one in evaluations}
        shown.fetch([*((one.table, one.variant) for one in evaluations), *apart])
        for evaluation in evaluations:
            log_evaluation(stage, evaluation, datasets, shown)
        return sorted(apart)

    def agent(self, stage: StageRun) -> dict[str, str]:
        """What chat models were told and answered; the run's tag that links the prompts."""
        record, join = stage.record, stage.join
        place = self.params.experiment, join.catalogue, content.stage_name(record.stage)
        names = {role: prompt_name(*place, role) for role in record.prompts}
        prompts = register_prompts(self.client, names, record.prompts, join.code.commit)
        log_traces(stage, conversations(self.root, record, join.entry), prompts)
        return linked_prompts(prompts)

    def link(self, path: Path, links: waiting.Links) -> None:
        """Tag a pipeline run with the runs that made its cached stages, and drop the queued file."""
        parent = self.parent(links.pipeline, 0.0, links)
        found: dict[str, str] = {}
        for stage, entry in links.stages.items():
            run = self.find("vitrine.lock_entry", entry)
            # An entry made elsewhere (a clone, another store) has no run here; its hash says what it is.
            found[stage] = run.info.run_id if run else f"lock:{entry}"
        cached = {content.clean_key(f"cached.{stage}"): run for stage, run in found.items()}
        log(self.client, parent.info.run_id, Entries(tags=cached))
        self.result.linked |= found
        path.unlink(missing_ok=True)

    def close_parent(self, pipeline: str, run_id: str, joins: Mapping[str, Join]) -> None:
        """End a pipeline run: failed if the last execution of some stage in it failed."""
        members = sorted((j for j in joins.values() if j.pipeline == pipeline), key=lambda j: j.started)
        last = {join.stage: join.status for join in members}
        status = "FINISHED" if all(state == "finished" for state in last.values()) else "FAILED"
        ended = max((join.started + join.seconds for join in members), default=0.0)
        if not is_deleted(self.client, run_id):
            summarise(self.client, self.root, self.client.get_run(run_id), members)
            self.client.set_terminated(run_id, status, end_time=milliseconds(ended) or None)
        waiting.note_ended(self.root, self.store, pipeline)
