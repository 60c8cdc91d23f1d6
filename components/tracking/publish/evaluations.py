"""Figures on models: one run per model that a stage measured, tied to the data set it was measured on.

A model's figures have the same names whichever system and run they come from, so that MLflow ranks models
by them; in the stage's own run two models' figures of one name would hide each other.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.tracking.examples.shown import IMAGES_TAG, StageEvaluation
from components.tracking.params import TrackingParams
from components.tracking.publish import headline, models
from components.tracking.publish import run_content as content
from components.tracking.publish.datasets import CHECKED
from components.tracking.publish.writing import Entries, FigureSource, StageRun, log, milliseconds
from components.tracking.store import once

EVALUATION = "vitrine.evaluation"
EXAMPLES = "examples"  # folder of a model


@dataclass(frozen=True)
class Evaluated:
    """One model's figures in a metrics file."""

    table: str
    variant: str
    model: Any  # MLflow's LoggedModel
    figures: dict[str, float]


def evaluated(
    stage: StageRun, root: Path, tables: headline.Tables, params: TrackingParams
) -> list[Evaluated]:
    """The models that a stage read and has figures of."""
    found = []
    for model in _read_models(stage, root) if tables else ():
        variant = models.variant_of(model.tags[models.MODEL], params.variants)
        for name, table in tables.items():
            shown = headline.headline_of(params, name)
            if shown and (figures := headline.evaluated(table, variant, shown)):
                found.append(Evaluated(name, variant, model, figures))
    return found


def _read_models(stage: StageRun, root: Path) -> Iterator[Any]:
    """Models behind a stage's data: read as folders, or by the run that made other data with a model."""
    client, experiments, entry = stage.client, [stage.run.info.experiment_id], stage.join.entry
    for dep in entry.deps if entry else ():
        path = content.data_name(dep)
        if content.is_code(path) or path == CHECKED or not dep.md5:
            continue
        if path.startswith(f"{models.FOLDER}/"):
            for folder, md5 in models.folders_read(root, dep).items():
                same = models.find(client, experiments, models.DVC, md5)
                yield from [model for model in same if model.tags.get(models.MODEL) == folder][:1]
        elif not set("`'") & set(path + dep.md5):
            query = f"tags.`vitrine.out.{path}` = '{dep.md5}'"
            for maker in client.search_runs(experiments, query, max_results=1):
                outputs = maker.outputs.model_outputs if maker.outputs else ()
                yield from (client.get_logged_model(output.model_id) for output in outputs)


def log_evaluation(
    stage: StageRun, evaluation: Evaluated, datasets: list[Any], shown: StageEvaluation
) -> str:
    """Make, or complete, the run that holds one model's figures and examples; its id."""
    from mlflow.entities import LoggedModelInput

    client, run, record = stage.client, stage.run, stage.record
    experiment, model = run.info.experiment_id, evaluation.model
    own = f"{record.id}:{evaluation.table}:{evaluation.variant}".replace("'", "_")
    made = client.search_runs([experiment], f"tags.`{EVALUATION}` = '{own}'", max_results=1)
    started, ended = milliseconds(record.started), milliseconds(record.started + record.seconds)
    on = datasets[0].dataset if datasets else None
    if not made:
        tags = content.common_tags(stage.join) | {
            "vitrine.kind": "evaluation",
            "vitrine.stage": record.stage,
            EVALUATION: own,
            "mlflow.parentRunId": run.info.run_id,
        }
        name = content.pipeline_name(stage.join, record.started, evaluation.variant)
        tags = {key: value for key, value in tags.items() if value}
        with once():
            made = [client.create_run(experiment, start_time=started, tags=tags, run_name=name)]
    run_id = str(made[0].info.run_id)
    if made[0].data.tags.get("vitrine.complete") != "true":
        client.log_inputs(run_id, datasets, [LoggedModelInput(model.model_id)])
        figures = [content.Figure(key=content.clean_key(k), value=v) for k, v in evaluation.figures.items()]
        tied = FigureSource(model.model_id, on.name, on.digest) if on else FigureSource(model.model_id)
        what = {"model": model.name, "variant": evaluation.variant, "table": evaluation.table}
        tags = _log_examples(stage, evaluation, run_id, on.name if on else "", shown)
        log(client, run_id, Entries(figures, ended, what, tags=tags, measured=tied))
        client.set_terminated(run_id, "FINISHED", end_time=ended)
        client.set_tag(run_id, "vitrine.complete", "true")
    return run_id


def _log_examples(
    stage: StageRun, evaluation: Evaluated, run_id: str, on: str, shown: StageEvaluation
) -> dict[str, str]:
    """Pictures for the grid on the run, and the page of examples on the model; the run's tags for them."""
    client, record, who = stage.client, stage.record, (evaluation.table, evaluation.variant)
    ended = milliseconds(record.started + record.seconds)
    with tempfile.TemporaryDirectory(prefix="vitrine-") as folder:
        pictures, page = Path(folder) / "run", Path(folder) / "model"
        place = page / EXAMPLES / (on or "measured")
        place.mkdir(parents=True)
        if found := shown.lay_out(pictures, who, record.id, ended):
            client.log_artifacts(run_id, str(pictures))
        if shown.lay_out_page(place, who, on or "what was measured"):
            client.log_model_artifacts(evaluation.model.model_id, str(page))
    return IMAGES_TAG if found else {}


def log_validation(stage: StageRun, model: Any, datasets: list[Any]) -> None:
    """What training itself measured on the validation split, as figures of the model."""
    on = next((one.dataset for one in datasets if one.dataset.name.endswith("-validation")), None)
    record = stage.record
    found = {k: v for k, v in record.metrics.items() if k.startswith(headline.VALIDATION)}
    figures = [
        content.Figure(key=content.clean_key(key), value=value)
        for key, value in found.items()
        if headline.number(value) is not None
    ]
    if on and figures:
        ended = milliseconds(record.started + record.seconds)
        tied = FigureSource(model.model_id, on.name, on.digest)
        log(stage.client, stage.run.info.run_id, Entries(figures, ended, measured=tied))
