"""What a pipeline run says of itself when its stages are recorded: name, tags, parameters, notes, files."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.stage.record import Record
from components.tracking.publish import models
from components.tracking.publish import pending as waiting
from components.tracking.publish import run_content as content
from components.tracking.publish.datasets import checked_data, dataset_inputs
from components.tracking.publish.pending import Join, Pipeline
from components.tracking.publish.views import TRAINING
from components.tracking.publish.writing import Entries, log

DATA, SYSTEMS = "vitrine.data", "vitrine.systems"
# rooms of the graph that are no system: what they do is not what a run is called after
OTHERS = ("shop", "catalog", "quality", "retrieval", "report")
MOST_LINKS = 15
ALL = 4  # systems that the graph has
SHOWN = 10  # characters of a hash


def summarise(client: Any, root: Path, run: Any, members: Sequence[Join]) -> None:
    """Complete a pipeline run's own record; writing it twice writes the same."""
    if not members:
        return
    first, run_id = members[0], run.info.run_id
    noted, systems, data = waiting.started(root, first.pipeline), systems_of(members), _checked(members)
    reader = next((join for join in reversed(members) if checked_data(join.entry)), None)
    if reader and (datasets := dataset_inputs(root, reader, ("train", "test"), "pipeline")):
        client.log_inputs(run_id, datasets)
    name = content.pipeline_name(first, first.started, systems)
    made = models.find(client, [run.info.experiment_id], models.PIPELINE, first.pipeline)
    tags = {SYSTEMS: systems, DATA: data, "mlflow.runName": name, "mlflow.source.name": "vitrine run"}
    tags[models.NOTE] = note(run, members, made, bool(noted and noted.diff))
    params = noted.changed if noted else {}
    new = {content.clean_key(k): content.shortened(v, content.PARAM_LENGTH) for k, v in params.items()}
    new = {key: value for key, value in new.items() if key not in run.data.params}
    log(client, run_id, Entries(params=new, tags={key: value for key, value in tags.items() if value}))
    with tempfile.TemporaryDirectory(prefix="vitrine-") as folder:
        for file, text in _files(root, members, noted).items():
            (Path(folder) / file).write_text(text, encoding="utf-8")
        client.log_artifacts(run_id, folder)


def _checked(members: Sequence[Join]) -> str:
    """DVC's hash of the checked catalogue that the last of the stages had; "" where none read it."""
    return next((found.md5 for join in reversed(members) if (found := checked_data(join.entry))), "")


def systems_of(members: Sequence[Join]) -> str:
    """What ran: the systems by name, ``studies``, or what was done to the catalogue."""
    rooms = [content.room_of(join) for join in members]
    found = list(dict.fromkeys(room for room in rooms if room and room not in OTHERS))
    if any(join.stage.startswith("studies/") for join in members):
        return "studies"
    if "report" in rooms and len(found) >= ALL:
        return "all"
    return ", ".join(sorted(found)) or ", ".join(dict.fromkeys(room for room in rooms if room))


def _files(root: Path, members: Sequence[Join], noted: Pipeline | None) -> dict[str, str]:
    wanted = {join.record for join in members}
    paths = [path for path in waiting.record_files(root) if path.stem in wanted]
    records = (waiting.read_state(path, Record) for path in paths)
    resolved = {record.stage: record.parameters for record in records if record}
    found = {"parameters.json": json.dumps(resolved, indent=1, sort_keys=True)} if resolved else {}
    return found | ({"uncommitted.diff": noted.diff} if noted and noted.diff else {})


def note(run: Any, members: Sequence[Join], made: Sequence[Any], kept_diff: bool) -> str:
    """The notes of a pipeline run, in Markdown: what, from what, with which result."""
    first = members[0]
    dirty = " with uncommitted changes" if first.code.dirty else ""
    dirty += " (artifact `uncommitted.diff`)" if kept_diff else ""
    data, systems = _checked(members), systems_of(members)
    systems = "All systems" if systems == "all" else systems
    last = {join.stage: join for join in members}
    failed = [stage for stage, join in last.items() if join.status != "finished"]
    results = [f"| {name} | {value:.3f} |" for name, value in sorted(run.data.metrics.items())]
    place = f"#/experiments/{run.info.experiment_id}/models"
    links = [f"[{one.name}]({place}/{one.model_id}?{TRAINING})" for one in made[:MOST_LINKS]]
    links += [f"{len(made) - MOST_LINKS} more"] if len(made) > MOST_LINKS else []
    lines = [
        f"**{systems}** of **{first.catalogue or 'unnamed'}**: {len(last)} stages ran"
        + (f", of which failed: {', '.join(failed)}." if failed else "."),
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
    return content.shortened("\n".join(lines), content.TAG_LENGTH)
