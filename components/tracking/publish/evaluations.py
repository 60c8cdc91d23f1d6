"""Figures on models: one run per model that a stage measured, tied to the data set it was measured on.

A model's figures have the same names whichever system and run they come from, so that MLflow ranks models
by them; in the stage's own run two models' figures of one name would hide each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.tracking.examples.shown import IMAGES_TAG, StageEvaluation
from components.tracking.params import TrackingParams
from components.tracking.publish import figures, models
from components.tracking.publish import run_content as content
from components.tracking.publish.datasets import CHECKED
from components.tracking.publish.figures import Figure
from components.tracking.publish.run_content import OUT, Entries, StageRun, artifacts, log
from components.tracking.store import once

EVALUATION = "vitrine.evaluation"
EXAMPLES = "examples"  # folder of a model


@dataclass(frozen=True)
class Evaluated:
    """One model's figures in a metrics file; ``model`` is MLflow's LoggedModel."""

    table: str
    variant: str
    model: Any
    figures: dict[str, float]


def evaluated(stage: StageRun, root: Path, tables: figures.Tables, params: TrackingParams) -> list[Evaluated]:
    """The models that a stage read and has figures of."""
    found = []
    for model in _read_models(stage, root) if tables else ():
        variant = models.variant_of(model.tags[models.MODEL], params.variants)
        for name, table in tables.items():
            shown = figures.headline_of(params, name)
            if shown and (measured := figures.evaluated(table, variant, shown)):
                found.append(Evaluated(name, variant, model, measured))
    return found


def _read_models(stage: StageRun, root: Path) -> Iterator[Any]:
    """Models behind a stage's data: read as folders, or by the run that made other data with a model."""
    client, experiments, entry = stage.client, [stage.run.info.experiment_id], stage.join.entry
    for dep in entry.deps if entry else ():
        if content.is_code(dep.name) or dep.name == CHECKED or not dep.md5:
            continue
        if dep.name.startswith(f"{models.FOLDER}/"):
            for folder, md5 in models.folders_read(root, dep).items():
                same = models.find(client, experiments, models.DVC, md5)
                yield from [model for model in same if model.tags.get(models.MODEL) == folder][:1]
        elif not set("`'") & set(dep.name + dep.md5):
            for maker in client.search_runs(
                experiments, f"tags.`{OUT}{dep.name}` = '{dep.md5}'", max_results=1
            ):
                outputs = maker.outputs.model_outputs if maker.outputs else ()
                yield from (client.get_logged_model(output.model_id) for output in outputs)


def log_evaluation(stage: StageRun, one: Evaluated, datasets: list[Any], shown: StageEvaluation) -> None:
    """Make, or complete, the run that holds one model's figures and examples."""
    from mlflow.entities import LoggedModelInput

    client, parent, record = stage.client, stage.run.info, stage.record
    own = f"{record.id}:{one.table}:{one.variant}".replace("'", "_")
    made = client.search_runs([parent.experiment_id], f"tags.`{EVALUATION}` = '{own}'", max_results=1)
    if not made:
        tags = {"vitrine.kind": "evaluation", "vitrine.stage": record.stage, EVALUATION: own}
        tags |= content.common_tags(stage.join) | {"mlflow.parentRunId": parent.run_id}
        name = content.pipeline_name(stage.join, record.started, one.variant)
        began = content.milliseconds(record.started)
        with once():
            made = [client.create_run(parent.experiment_id, start_time=began, tags=tags, run_name=name)]
    run_id, model_id = str(made[0].info.run_id), one.model.model_id
    if made[0].data.tags.get("vitrine.complete") == "true":
        return
    client.log_inputs(run_id, datasets, [LoggedModelInput(model_id)])
    on, who = datasets[0].dataset if datasets else None, (one.table, one.variant)
    with artifacts(client.log_artifacts, run_id) as folder:
        pictured = shown.lay_out(folder, who, record.id, stage.ended)
    with artifacts(client.log_model_artifacts, model_id) as folder:
        shown.lay_out_page(folder / EXAMPLES / (on.name if on else "measured"), who, on.name if on else "")
    what = {"model": one.model.name, "variant": one.variant, "table": one.table}
    found = [Figure(key, value) for key, value in one.figures.items()]
    tags = IMAGES_TAG if pictured else {}
    log(client, run_id, Entries(found, stage.ended, what, tags, _measured(model_id, on)))
    client.set_terminated(run_id, "FINISHED", end_time=stage.ended)
    client.set_tag(run_id, "vitrine.complete", "true")


def _measured(model_id: str, on: Any) -> dict[str, str]:
    """Of which model a figure is, and on which data set, if any."""
    return {"model_id": model_id} | ({"dataset_name": on.name, "dataset_digest": on.digest} if on else {})


def log_validation(stage: StageRun, model: Any, datasets: list[Any]) -> None:
    """What training itself measured on the validation split, as figures of the model."""
    on = next((one.dataset for one in datasets if one.dataset.name.endswith("-validation")), None)
    own = {k: v for k, v in stage.record.metrics.items() if k.startswith(figures.VALIDATION)}
    found = [Figure(key, value) for key, value in figures.numbers(own).items()]
    if on and found:
        entries = Entries(found, stage.ended, measured=_measured(model.model_id, on))
        log(stage.client, stage.run.info.run_id, entries)
