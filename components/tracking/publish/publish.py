"""Records become MLflow runs: one run per execution of a stage, under one parent per pipeline run.

Stages do not use MLflow, and DVC hashes outputs only after a stage command has ended; so runs are made
afterwards, by joining a record with dvc.lock. Publishing may fail, be killed or be repeated at any moment:
a record counts as published when its mark is written, which is the last thing that happens, and writing a
run again completes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.stage.errors import VitrineError
from components.stage.files.publish import remove
from components.stage.record import STATE, Record
from components.tracking.errors import LockFileError, TrackerUnavailableError
from components.tracking.examples.shown import IMAGES_TAG, StageEvaluation, Who, read_shown
from components.tracking.faults import meaning
from components.tracking.lineage.repair import held
from components.tracking.params import TrackingParams
from components.tracking.publish import models
from components.tracking.publish import pending as waiting
from components.tracking.publish import run_content as content
from components.tracking.publish.agent import log_conversations
from components.tracking.publish.datasets import dataset_inputs, evaluated_split
from components.tracking.publish.evaluations import evaluated, log_evaluation, log_validation
from components.tracking.publish.figures import Tables, figures, pipeline_figures
from components.tracking.publish.overview import describe, summarise
from components.tracking.publish.pending import Join, Origin, link_cached, pending, start_pipeline
from components.tracking.publish.run_content import Entries, StageRun, artifacts, log, milliseconds
from components.tracking.publish.runs import tracking_params
from components.tracking.store import Store, check, connect, experiment_of, experiments_of, once, store_of

__all__ = ["PublishResult", "link_cached", "pending", "publish", "start_pipeline"]

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


def publish_run(root: Path, run_id: str, cached: Sequence[str]) -> list[str]:
    """Write what a pipeline run computed, and what it found ``cached``; returns what went wrong."""
    try:
        link_cached(root, run_id, list(cached))
        return publish(root).warnings if pending(root) else []
    except (VitrineError, OSError) as error:
        return [f"not recorded in MLflow yet: {error}"]


def publish(root: Path, params: TrackingParams | None = None) -> PublishResult:
    """Publish the workspace's waiting records and links to MLflow.

    A store that is down, locked or broken is no failure: records wait, and ``warnings`` says so. Imports
    MLflow only when there is something to publish and the store answers.

    Raises ConfigurationError: params.yaml has no valid block ``tracking`` (and ``params`` is not given).
    """
    root = root.resolve()
    params = params or tracking_params(root)
    store, result = store_of(root), PublishResult()
    try:
        # Two publishers at once would make two runs of one record.
        with held(root / STATE / "publish.lock", WAIT_FOR_OTHER_S) as ours:
            if ours:
                _publish(root, store, params, result)
            else:
                result.warnings.append(
                    "Another sync of this workspace is running; run vitrine sync when it has ended."
                )
    except (LockFileError, TrackerUnavailableError) as error:
        result.warnings.append(str(error))
    except Exception as error:  # whatever the tracker raises, a pipeline that has done its work must not fail
        result.warnings.append(_failure(store, error))
    result.waiting = len(waiting.unpublished(root, store))
    return result


def _failure(store: Store, error: Exception) -> str:
    if known := meaning(store, error):
        return f"{known} Records wait."
    text = " ".join(str(error).split()).replace(store.uri, store.shown)
    what = f"{type(error).__name__}: {text[:300]}"
    return f"Publishing to {store.shown} failed ({what}); records wait, run vitrine sync again."


def _publish(root: Path, store: Store, params: TrackingParams, result: PublishResult) -> None:
    loaded, warnings = waiting.load_records(waiting.unpublished(root, store))
    result.warnings += warnings
    # Joins first: they must be fixed even when the store is down.
    joins = waiting.join_records(root, loaded)
    links, left_open = waiting.queued_links(root), waiting.opened(root, store)
    if not loaded and not links and not left_open:
        return
    client = None if store.missing() else connect(store)
    if client is None or not experiments_of(client, params.experiment, deleted=True):
        # a new store behind an old address: what was published is not there any more
        remove(waiting.marks(root, store))
        loaded, _ = waiting.load_records(waiting.unpublished(root, store))
        joins, left_open = waiting.join_records(root, loaded), {}
    publisher = _Publisher(root, client or connect(store), store, params, result)
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
        order = {"max_results": 1, "order_by": ["attributes.start_time ASC"]}
        return next(iter(self.client.search_runs(everywhere, f"tags.`{tag}` = '{value}'", **order)), None)

    def found_or_made(
        self, tag: str, tags: dict[str, str], experiment: str, started: float, name: str
    ) -> Any:
        """The run whose ``tag`` is that of ``tags``; all tags at creation, so that it can be found again."""
        run = self.find(tag, tags[tag])
        if run is None:
            with once():
                began = milliseconds(started)
                run = self.client.create_run(experiment, start_time=began, tags=tags, run_name=name)
        return run

    def parent(self, pipeline: str, started: float, join: Origin) -> Any:
        """MLflow run of a pipeline run, made if it is not there."""
        if pipeline not in self.parents:
            catalogue = join.catalogue
            if catalogue not in self.experiments:
                base = self.params.experiment
                self.experiments[catalogue] = experiment_of(self.client, self.store, base, catalogue)
                describe(self.client, self.experiments[catalogue], catalogue, self.params)
            tags = content.common_tags(join) | {"vitrine.kind": "pipeline"}
            tags["vitrine.pipeline"] = pipeline.replace("'", "_")  # MLflow's filter language has no escape
            name, experiment = content.pipeline_name(join, started), self.experiments[catalogue]
            run = self.found_or_made("vitrine.pipeline", tags, experiment, started, name)
            waiting.note_opened(self.root, self.store, pipeline, run.info.run_id)
            self.parents[pipeline] = run
            self.result.parents[pipeline] = run.info.run_id
        return self.parents[pipeline]

    def stage_run(self, record: Record, join: Join) -> None:
        """Make, or complete, the run of one record, and mark the record as published."""
        parent = self.parent(join.pipeline, record.started, join).info
        tags = content.tags(record, join) | {"mlflow.parentRunId": parent.run_id}
        name = content.stage_name(record.stage)
        run = self.found_or_made("vitrine.record", tags, parent.experiment_id, record.started, name)
        if run.data.tags.get("vitrine.complete") != "true":
            self.fill(StageRun(self.client, run, record, join))
        waiting.mark(self.root, self.store, record.id, run.info.run_id)
        self.result.published[record.id] = run.info.run_id

    def fill(self, stage: StageRun) -> None:
        """Write parameters, figures, models and files, end the run, and only then call it complete."""
        run_id, record, join, ended = stage.run.info.run_id, stage.record, stage.join, stage.ended
        files = content.evidence(self.root, join, self.params.artifact_limit_bytes)
        tables = content.metric_tables(files)
        own = figures(record, tables, self.params)
        log(self.client, run_id, Entries(own, ended, content.parameters(record, join)))
        shown = read_shown(self.root, join.entry, files if tables else {}, self.params)
        apart = self.models(stage, tables, shown)
        linked = log_conversations(stage, self.root, self.params.experiment)
        if of_pipeline := pipeline_figures(tables, self.params):
            log(self.client, self.parents[join.pipeline].info.run_id, Entries(of_pipeline, ended))
        with artifacts(self.client.log_artifacts, run_id) as folder:
            texts = content.logged_tables(record, tables) | shown.tables(tables)
            content.lay_out(folder, record, join, files, texts)
            pictured = [shown.lay_out(folder, who, record.id, ended) for who in apart]
        status = "FINISHED" if record.status == "finished" else "FAILED"
        status = "KILLED" if record.exit_code == INTERRUPTED else status
        self.client.set_terminated(run_id, status, end_time=ended)
        listed = json.dumps([{"path": name, "type": "table"} for name in texts])
        tags = linked | (IMAGES_TAG if any(pictured) else {}) | {"vitrine.complete": "true"}
        log(self.client, run_id, Entries(tags=tags | ({"mlflow.loggedArtifacts": listed} if texts else {})))

    def models(self, stage: StageRun, tables: Tables, shown: StageEvaluation) -> list[Who]:
        """The models that the stage trained or measured, and the data it read; systems without a model."""
        record, join = stage.record, stage.join
        trained = models.trained_models(self.root, join)
        measured = (evaluated_split(record.parameters),) if tables else ()
        splits, context = (("train", "validation"), "training") if trained else (measured, "evaluation")
        datasets = dataset_inputs(self.root, join, splits, context)
        if datasets:
            self.client.log_inputs(stage.run.info.run_id, datasets)
        for folder in trained:
            model = models.log_model(stage, self.root, folder)
            if len(trained) == 1:
                log_validation(stage, model, datasets)
        evaluations = evaluated(stage, self.root, tables, self.params)
        who = [(one.table, one.variant) for one in evaluations]
        apart = sorted(shown.main_systems(tables) - set(who))
        shown.fetch([*who, *apart])
        for evaluation in evaluations:
            log_evaluation(stage, evaluation, datasets, shown)
        return apart

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
        """End a pipeline run, unless it was deleted: failed if the last execution of some stage failed."""
        from mlflow.exceptions import MlflowException

        members = sorted((j for j in joins.values() if j.pipeline == pipeline), key=lambda j: j.started)
        last = {join.stage: join.status for join in members}
        status = "FINISHED" if all(state == "finished" for state in last.values()) else "FAILED"
        ended = max((join.started + join.seconds for join in members), default=0.0)
        try:
            run = self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            run = None  # removed for good
        if run and run.info.lifecycle_stage == "active":
            if members:
                made = models.find(self.client, [run.info.experiment_id], models.PIPELINE, pipeline)
                summarise(self.client, self.root, run, members, made)
            self.client.set_terminated(run_id, status, end_time=milliseconds(ended) or None)
        waiting.note_ended(self.root, self.store, pipeline)
