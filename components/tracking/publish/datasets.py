"""The data a run used, as MLflow's data sets: catalogue and split as the name, DVC's hash as the digest."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from components.tracking.lineage.lockfile import LockEntry, Output, located
from components.tracking.publish.pending import Join

CHECKED = "data/checked"  # what passed the gate: the catalogue that everything is trained and measured on


def checked_data(entry: LockEntry | None) -> Output | None:
    """The checked catalogue among what a stage read or wrote."""
    items = (*entry.deps, *entry.outs) if entry else ()
    return next((item for item in items if item.name == CHECKED), None)


def checked_files(root: Path, entry: LockEntry | None) -> dict[str, Path]:
    """The catalogue's files that are here, by their path inside of it; {} where the stage had none."""
    data = checked_data(entry)
    found = located(root, data) if data else {}
    return {path.removeprefix(f"{CHECKED}/"): file for path, file in sorted(found.items())}


def evaluated_split(parameters: dict[str, Any]) -> str:
    """The split that an evaluation's parameters name; ``test`` where they name none."""
    blocks = [parameters, *(value for value in parameters.values() if isinstance(value, dict))]
    return next((block["split"] for block in blocks if isinstance(block.get("split"), str)), "test")


def dataset_inputs(root: Path, join: Join, splits: Iterable[str], context: str) -> list[Any]:
    """MLflow's ``DatasetInput`` of each split of the catalogue that a stage read; [] if it read none."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data = checked_data(join.entry)
    if data is None or not data.md5:
        return []
    columns, counts = _described(root, data)
    source = json.dumps({"path": data.path, "dvc": data.md5, "catalogue": join.catalogue, "bytes": data.size})
    facts = {"digest": data.md5, "source_type": "dvc", "source": source}
    facts["schema"] = json.dumps({"mlflow_colspec": columns})
    made = []
    for split in splits:
        profile = json.dumps(counts.get(split, {}), sort_keys=True)
        tags = [InputTag("mlflow.data.context", context), InputTag("split", split)]
        name = f"{join.catalogue or 'catalogue'}-{split}"  # fashion-test
        made.append(DatasetInput(Dataset(name=name, profile=profile, **facts), tags))
    return made


@lru_cache(maxsize=4)
def _described(root: Path, data: Output) -> tuple[list[dict[str, Any]], dict[str, dict[str, int]]]:
    """Columns of the products, and products and queries of each split, as far as the files are here."""
    import pyarrow.parquet as pq
    from pyarrow import ArrowInvalid

    columns: list[dict[str, Any]] = []
    counts: dict[str, Counter[str]] = {}
    for path, file in checked_files(root, LockEntry(deps=(data,))).items():
        kind = "products" if path.startswith("products/") else Path(path).stem
        if kind not in ("products", "queries"):
            continue
        try:
            schema = pq.read_schema(file)
        except ArrowInvalid:  # notes of a stage that was left out; the digest says what it was all the same
            continue
        if kind == "products" and not columns:
            columns = [{"name": f.name, "type": str(f.type), "required": not f.nullable} for f in schema]
        if "split" in schema.names:
            for split in pq.read_table(file, columns=["split"])["split"].to_pylist():
                counts.setdefault(str(split), Counter())[kind] += 1
    return columns, {split: dict(found) for split, found in counts.items()}
