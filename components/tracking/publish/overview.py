"""What a person sees first: saved views of an experiment, and what a pipeline run says of itself.

MLflow keeps a view as a tag of the experiment; *Views* on the page of runs lists them, and a link opens one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.stage.record import Record
from components.tracking.params import TrackingParams
from components.tracking.publish import pending as waiting
from components.tracking.publish import run_content as content
from components.tracking.publish.datasets import checked_data, dataset_inputs
from components.tracking.publish.pending import Join
from components.tracking.publish.run_content import Entries, artifacts, log
from components.tracking.store import MODE

VIEW, NOTE = "mlflow.sharedViewState.", "mlflow.note.content"
RUNS, MODELS = "vitrine-runs", "vitrine-models"

RANKED = "mrr"
DATASET, MODEL = "attributes.`Dataset`", "params.`model`"
# Widths in CSS pixels: MLflow cuts names at 160 and figures' names at 100. It heeds a width only of columns
# whose order is given too. The second column says when a run began.
WIDTHS = {"attributes.`Run Name`": 290, "runDateAndNestInfo": 130, "duration": 80, "attributes.`Version`": 80}
FIGURE_PX, DATA_PX = 160, 170
# Two charts side by side have room for the names in their legends; MLflow by itself puts three.
SECTION = {"uuid": "vitrine", "name": "Model metrics", "display": True, "isReordered": False}
SECTION |= {"deleted": False, "isGenerated": True, "columns": 2}
DATA, SYSTEMS = "vitrine.data", "vitrine.systems"
# rooms of the graph that are no system: what they do is not what a run is called after
OTHERS = ("shop", "catalog", "quality", "retrieval", "report")
MOST_LINKS = 15
ALL = 4  # systems that the graph has
SHOWN = 10  # characters of a hash


def describe(client: Any, experiment: str, catalogue: str, params: TrackingParams) -> None:
    """Give an experiment its views and description, where it has none."""
    main = [f"metrics.`{name}.{one.metrics[0]}`" for name, one in params.headline.items()]
    every = [f"metrics.`{m}`" for one in params.headline.values() for m in one.metrics[:3]]
    # beside the figure that orders them its slices: mrr_cluttered, mrr_plain
    figures = sorted(dict.fromkeys(every), key=lambda name: not name.startswith(f"metrics.`{RANKED}"))
    runs = [*main, "tags.`vitrine.systems`", "tags.`vitrine.data`", "attributes.`Version`"]
    wanted = {
        f"{VIEW}{RUNS}": _view("Pipeline runs", "pipeline", "attributes.start_time", runs),
        # by another order than that of time, MLflow lists nested runs without the runs around them
        f"{VIEW}{MODELS}": _view(
            "Models by their figures", "evaluation", f"metrics.`{RANKED}`", [*figures, MODEL, DATASET]
        ),
        NOTE: f"Runs, models and data sets of catalogue **{catalogue or 'unnamed'}**. "
        f"Compare [pipeline runs]({address(experiment, RUNS)}) or "
        f"[models by their figures]({address(experiment, MODELS)}).",
    }
    tags = client.get_experiment(experiment).tags
    for key in wanted.keys() - tags.keys():
        client.set_experiment_tag(experiment, key, wanted[key])


def address(experiment: str, view: str) -> str:
    """The part of a page's address behind the server that opens a view."""
    return f"#/experiments/{experiment}/runs?{MODE}&viewStateShareKey={view}"


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


def summarise(client: Any, root: Path, run: Any, members: Sequence[Join], models: Sequence[Any]) -> None:
    """Complete a pipeline run's own record, with the models it made; writing it twice writes the same."""
    first, run_id = members[0], run.info.run_id
    noted = waiting.started(root, first.pipeline)
    systems, reader = systems_of(members), _reader(members)
    if reader and (datasets := dataset_inputs(root, reader, ("train", "test"), "pipeline")):
        client.log_inputs(run_id, datasets)
    name = content.pipeline_name(first, first.started, systems)
    tags = {
        SYSTEMS: systems,
        DATA: _data(reader),
        "mlflow.runName": name,
        "mlflow.source.name": "vitrine run",
    }
    tags[NOTE] = content.shortened(note(run, members, models, bool(noted and noted.diff)), content.TAG_LENGTH)
    changed = noted.changed if noted else {}
    params = {content.clean_key(k): content.shortened(v, content.PARAM_LENGTH) for k, v in changed.items()}
    params = {key: value for key, value in params.items() if key not in run.data.params}
    log(client, run_id, Entries(params=params, tags={key: value for key, value in tags.items() if value}))
    wanted = {join.record for join in members}
    paths = (path for path in waiting.record_files(root) if path.stem in wanted)
    records = (waiting.read_state(path, Record) for path in paths)
    resolved = {record.stage: record.parameters for record in records if record}
    with artifacts(client.log_artifacts, run_id) as folder:
        if resolved:
            text = json.dumps(resolved, indent=1, sort_keys=True)
            (folder / "parameters.json").write_text(text, encoding="utf-8")
        if noted and noted.diff:
            (folder / "uncommitted.diff").write_text(noted.diff, encoding="utf-8")


def _reader(members: Sequence[Join]) -> Join | None:
    """The last of the stages that had the checked catalogue."""
    return next((join for join in reversed(members) if checked_data(join.entry)), None)


def _data(reader: Join | None) -> str:
    """DVC's hash of the checked catalogue; "" where none read it."""
    found = checked_data(reader.entry) if reader else None
    return found.md5 if found else ""


def systems_of(members: Sequence[Join]) -> str:
    """What ran: the systems by name, ``studies``, or what was done to the catalogue."""
    rooms = list(filter(None, map(content.room_of, members)))
    found = sorted({room for room in rooms if room not in OTHERS})
    if any(join.stage.startswith("studies/") for join in members):
        return "studies"
    if "report" in rooms and len(found) >= ALL:
        return "all"
    return ", ".join(found or dict.fromkeys(rooms))


def note(run: Any, members: Sequence[Join], made: Sequence[Any], kept_diff: bool) -> str:
    """The notes of a pipeline run, in Markdown: what, from what, with which result."""
    first = members[0]
    dirty = " with uncommitted changes" if first.code.dirty else ""
    dirty += " (artifact `uncommitted.diff`)" if kept_diff else ""
    data, systems = _data(_reader(members)), systems_of(members)
    last = {join.stage: join for join in members}
    failed = [stage for stage, join in last.items() if join.status != "finished"]
    results = [f"| {name} | {value:.3f} |" for name, value in sorted(run.data.metrics.items())]
    place = f"#/experiments/{run.info.experiment_id}/models"
    links = [f"[{one.name}]({place}/{one.model_id}?{MODE})" for one in made[:MOST_LINKS]]
    links += [f"{len(made) - MOST_LINKS} more"] if len(made) > MOST_LINKS else []
    lines = [
        f"**{'All systems' if systems == 'all' else systems}** of **{first.catalogue or 'unnamed'}**: "
        f"{len(last)} stages ran" + (f", of which failed: {', '.join(failed)}." if failed else "."),
        "",
        f"From commit `{first.code.commit[:SHOWN] or 'unknown'}`{dirty}"
        + (f", checked catalogue `{data[:SHOWN]}` (`data/checked`)." if data else "."),
        "Stages that were not run again are linked in the tags `cached.STAGE`.",
        "",
        *(["| result | value |", "|---|---|", *results, ""] if results else ()),
        *([f"Models: {', '.join(links)}.", ""] if links else ()),
        f"Lineage: `vitrine lineage {run.info.run_id[:SHOWN]}`. Report: artifact `reports/index.html` of the "
        "stage `report`, where it ran. Parameters: those that differ from their defaults below, all in "
        "`parameters.json`.",
    ]
    return "\n".join(lines)
