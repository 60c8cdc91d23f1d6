"""The data a run used, as MLflow's data sets: catalogue and split as the name, DVC's hash as the digest."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from components.tracking.lineage.lockfile import LockEntry, Output, located
from components.tracking.publish.pending import Join

CHECKED = "data/checked"  # what passed the gate: the catalogue that everything is trained and measured on
Split = Literal["train", "validation", "test"]


def checked_data(entry: LockEntry | None) -> Output | None:
    """The checked catalogue among what a stage read or wrote."""
    items = (*entry.deps, *entry.outs) if entry else ()
    return next((item for item in items if item.path.rstrip("/") == CHECKED), None)


def dataset_name(catalogue: str, split: str) -> str:
    """What MLflow calls the data set: ``fashion-test``."""
    return f"{catalogue or 'catalogue'}-{split}"


def evaluated_split(parameters: dict[str, Any]) -> str:
    """The split that an evaluation's parameters name; ``test`` where they name none."""
    blocks = [value for value in parameters.values() if isinstance(value, dict)]
    named = [block["split"] for block in (parameters, *blocks) if isinstance(block.get("split"), str)]
    return named[0] if named else "test"


def dataset_inputs(root: Path, join: Join, splits: Iterable[str], context: str) -> list[Any]:
    """MLflow's ``DatasetInput`` of each split of the catalogue that a stage read; [] if it read none."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data = checked_data(join.entry)
    if data is None or not data.md5:
        return []
    columns, counts = _described(root, data)
    source = json.dumps({"path": data.path, "dvc": data.md5, "catalogue": join.catalogue, "bytes": data.size})
    return [
        DatasetInput(
            Dataset(
                name=dataset_name(join.catalogue, split),
                digest=data.md5,
                source_type="dvc",
                source=source,
                schema=json.dumps({"mlflow_colspec": columns}),
                profile=json.dumps(counts.get(split, {}), sort_keys=True),
            ),
            [InputTag("mlflow.data.context", context), InputTag("split", split)],
        )
        for split in splits
    ]


@lru_cache(maxsize=4)
def _described(root: Path, data: Output) -> tuple[list[dict[str, Any]], dict[str, dict[str, int]]]:
    """Columns of the products, and products and queries of each split, as far as the files are here."""
    import pyarrow.parquet as pq
    from pyarrow import ArrowInvalid

    columns: list[dict[str, Any]] = []
    counts: dict[str, Counter[str]] = {}
    for path, file in sorted(located(root, data).items()):
        inside = path.removeprefix(f"{data.path.rstrip('/')}/")
        kind = "products" if inside.startswith("products/") else Path(inside).stem
        if kind not in ("products", "queries"):
            continue
        try:
            schema = pq.read_schema(file)
        except ArrowInvalid:  # notes of a stage that was left out; the digest says what it was all the same
            continue
        if kind == "products" and not columns:
            columns = [{"name": f.name, "type": str(f.type), "required": not f.nullable} for f in schema]
        if "split" in schema.names:
            found = Counter(pq.read_table(file, columns=["split"])["split"].to_pylist())
            for split, count in found.items():
                counts.setdefault(str(split), Counter())[kind] += count
    return columns, {split: dict(found) for split, found in counts.items()}
