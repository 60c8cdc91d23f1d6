"""What a person sees first of an experiment: saved views of its runs, and a description that links them.

MLflow keeps a view as a tag of the experiment; *Views* on the page of runs lists them, and a link opens one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from components.tracking.params import TrackingParams
from components.tracking.store import MODE

VIEW, NOTE = "mlflow.sharedViewState.", "mlflow.note.content"
RUNS, MODELS = "vitrine-runs", "vitrine-models"
TRAINING = MODE  # of every address that leads to MLflow's pages
RANKED = "mrr"
# Widths in CSS pixels: MLflow cuts names at 160 and figures' names at 100. It heeds a width only of columns
# whose order is given too.
WIDTHS = {
    "attributes.`Run Name`": 290,
    "runDateAndNestInfo": 130,  # when it began
    "duration": 80,
    "attributes.`Version`": 80,
}
FIGURE_PX, DATA_PX = 160, 170
DATASET, MODEL = "attributes.`Dataset`", "params.`model`"
# Two charts side by side have room for the names in their legends; MLflow by itself puts three.
SECTION = {"uuid": "vitrine", "name": "Model metrics", "display": True, "isReordered": False}
SECTION |= {"deleted": False, "isGenerated": True, "columns": 2}


def describe(client: Any, experiment: str, catalogue: str, params: TrackingParams) -> None:
    """Give an experiment its views and description, where it has none."""
    tags = client.get_experiment(experiment).tags
    wanted = _views(params) | {NOTE: _note(experiment, catalogue)}
    for key, value in wanted.items():
        if key not in tags:
            client.set_experiment_tag(experiment, key, value)


def address(experiment: str, view: str) -> str:
    """The part of a page's address behind the server that opens a view."""
    return f"#/experiments/{experiment}/runs?{TRAINING}&viewStateShareKey={view}"


def _note(experiment: str, catalogue: str) -> str:
    return (
        f"Runs, models and data sets of catalogue **{catalogue or 'unnamed'}**. "
        f"Compare [pipeline runs]({address(experiment, RUNS)}) or "
        f"[models by their figures]({address(experiment, MODELS)})."
    )


def _views(params: TrackingParams) -> dict[str, str]:
    main = [f"metrics.`{name}.{one.metrics[0]}`" for name, one in params.headline.items()]
    figures = list(
        dict.fromkeys(f"metrics.`{m}`" for one in params.headline.values() for m in one.metrics[:3])
    )
    # beside the figure that orders them its slices: mrr_cluttered, mrr_plain
    figures.sort(key=lambda name: not name.startswith(f"metrics.`{RANKED}"))
    facts = ["tags.`vitrine.systems`", "tags.`vitrine.data`"]
    shown = {
        RUNS: ("Pipeline runs", "pipeline", "attributes.start_time", [*main, *facts, "attributes.`Version`"]),
        # by another order than that of time, MLflow lists nested runs without the runs around them
        MODELS: ("Models by their figures", "evaluation", f"metrics.`{RANKED}`", [*figures, MODEL, DATASET]),
    }
    return {f"{VIEW}{key}": _view(*view) for key, view in shown.items()}


def _view(name: str, kind: str, order: str, columns: Sequence[str]) -> str:
    widths = WIDTHS | {column: FIGURE_PX for column in columns if column.startswith("metrics.")}
    widths |= {column: DATA_PX for column in columns if column in (MODEL, DATASET)}
    state = {
        "searchFilter": f"tags.`vitrine.kind` = '{kind}'",
        "orderByKey": order,
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": list(columns),
        "columnOrder": list(widths),
        "columnWidths": widths,
        "compareRunSections": [SECTION],
        "compareRunCharts": [],  # MLflow adds one for each figure
    }
    now = round(time.time() * 1000)
    return json.dumps({"name": name, "createdAt": now, "updatedAt": now, "state": json.dumps(state)})
