"""A workspace with records, dvc.lock, a DVC cache and git, and a tracking store that is migrated once per
session.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.stage.record import Record, save_record
from components.tracking.lineage.lockfile import file_md5, tree_md5
from components.tracking.params import TrackingParams

PARAMS = {
    "tracking": {
        "experiment": "vitrine",
        "artifact_limit_bytes": 100_000,
        "models": {"encoder": "models/encoder"},
    }
}
START = 1_700_000_000.0


class Workspace:
    """A workspace whose stages are fabricated: outputs, lock entry and record, as DVC and a stage leave
    them.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = START
        self.lock: dict[str, Any] = {}
        root.mkdir(parents=True)
        (root / ".dvc").mkdir()
        (root / "params.yaml").write_text(yaml.safe_dump(PARAMS))
        (root / ".gitignore").write_text("/.vitrine\n/.dvc\n/mlruns\n/data\n/models\n/results/per_query\n")
        self.git("init", "-q", "-b", "main")
        self.commit("start")

    def git(self, *arguments: str) -> str:
        who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
        done = subprocess.run(
            ["git", *who, *arguments], cwd=self.root, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit(self, message: str) -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def write(self, path: str, content: bytes | str | dict[str, Any]) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, dict):
            content = json.dumps(content)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())
        return target

    def _cache(self, path: Path) -> None:
        """Put a file, or a folder's files and listing, where DVC keeps them."""
        files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
        for file in files:
            self._into_cache(file_md5(file), file.read_bytes())
        if path.is_dir():
            listing = [{"md5": file_md5(f), "relpath": f.relative_to(path).as_posix()} for f in files]
            listing.sort(key=lambda item: item["relpath"])
            self._into_cache(tree_md5(path), json.dumps(listing, sort_keys=True).encode())

    def _into_cache(self, md5: str, content: bytes) -> None:
        target = self.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def _item(self, path: str) -> dict[str, Any]:
        where = self.root / path
        files = [p for p in where.rglob("*") if p.is_file()] if where.is_dir() else [where]
        item: dict[str, Any] = {"path": path, "hash": "md5", "md5": tree_md5(where)}
        item["size"] = sum(f.stat().st_size for f in files)
        return item | ({"nfiles": len(files)} if where.is_dir() else {})

    def stage(
        self,
        name: str,
        outs: list[str],
        deps: Sequence[str] = (),
        params: dict[str, Any] | None = None,
        **record: Any,
    ) -> Record:
        """Pretend that a stage ran and DVC noted it; the outputs have been written before."""
        made = self.record(name, **record)
        for path in outs:
            self._cache(self.root / path)
        entry: dict[str, Any] = {"cmd": f"python -m {name}", "deps": [self._item(d) for d in deps]}
        entry |= {"params": {"params.yaml": params}} if params else {}
        self.lock[name] = entry | {"outs": [self._item(o) for o in outs]}
        self.write_lock()
        return made

    def record(self, name: str, **fields: Any) -> Record:
        """Leave a record as a stage does; every call is ten seconds later than the one before."""
        self.clock += 10
        defaults = {"status": "finished", "started": self.clock, "seconds": 5.0, "peak_memory_bytes": 1 << 20}
        record = Record(stage=name, **(defaults | fields))
        save_record(record, self.root / ".vitrine")
        return record

    def write_lock(self) -> None:
        (self.root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": self.lock}))

    def pipeline(self, parent: str = "", seed: int = 0) -> dict[str, Record]:
        """Three stages that feed each other: catalogue, encoder, evaluation."""
        self.write("data/catalog/queries.parquet", "queries")
        self.write("data/catalog/products/part-0.parquet", f"products {seed}")
        self.write("models/encoder/config.json", "{}")
        self.write("models/encoder/model.safetensors", tensors(seed))
        figures = {"value": 0.5 + seed / 100, "low": 0.4, "high": 0.6, "n": 4}
        self.write("metrics/encoder.json", {"fine_tuned": {"mrr": figures}, "_tests": []})
        self.write("results/per_query/encoder.parquet", per_query(seed))
        self.write("code/encoder.py", "pass\n")
        curve = [{"step": float(i), "value": 1 / (i + 1)} for i in range(5)]
        return {
            "catalog": self.stage("catalog", ["data/catalog"], parent=parent),
            "encoder": self.stage(
                "encoder", ["models/encoder"], ["data/catalog", "code/encoder.py"],
                {"encoder.lr": 0.1 + seed, "encoder.layers": [1, 2]}, parent=parent,
                curves={"loss": curve}, timings={"reading": 1.5}, metrics={"last_loss": 0.2},
            ),
            "encoder_eval": self.stage(
                "encoder_eval", ["metrics/encoder.json", "results/per_query/encoder.parquet"],
                ["models/encoder", "data/catalog"], parent=parent,
            ),
        }  # fmt: skip


def tensors(seed: int) -> bytes:
    """A safetensors file with one tensor, written by hand from the format."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes([seed, 0, 0, 0])


def as_parquet(rows: list[dict[str, Any]], schema: Any = None) -> bytes:
    """Rows as the bytes of a Parquet file."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink)
    return sink.getvalue()


def per_query(seed: int, queries: int = 4) -> bytes:
    """Per-query results as Parquet bytes: two metrics, one of them undefined for the last query."""
    return as_parquet(
        [
            {
                "variant": "fine_tuned",
                "task": "text_to_image",
                "query_id": f"q{i}",
                "kind": "textual",
                "mrr": 1 / (i + 1 + seed),
                "ndcg_at_10": 0.5 + seed / 10 if i < queries - 1 else None,
                "top": ["p1"],
            }
            for i in range(queries)
        ]
    )


@pytest.fixture(autouse=True)
def _no_tracker_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "VITRINE_PROFILE", "VITRINE_PARAMS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite store with MLflow's tables and nothing in it: its migrations take seconds, a copy none."""
    from components.tracking.store import Store, connect

    database = tmp_path_factory.mktemp("store") / "mlflow.db"
    connect(Store(f"sqlite:///{database}", database)).search_experiments()
    return database


@pytest.fixture(scope="session")
def new_workspace(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Workspace]:
    """Makes workspaces with a store, for modules whose tests only read what one publish left."""

    def make() -> Workspace:
        made = Workspace(tmp_path_factory.mktemp("shared") / "shop")
        (made.root / "mlruns").mkdir()
        shutil.copyfile(migrated, made.root / "mlruns/mlflow.db")
        return made

    return make


@pytest.fixture
def bare(tmp_path: Path) -> Workspace:
    """A workspace without a tracking store."""
    return Workspace(tmp_path / "shop")


@pytest.fixture
def workspace(bare: Workspace, migrated: Path) -> Workspace:
    """A workspace with an empty, migrated store."""
    (bare.root / "mlruns").mkdir()
    shutil.copyfile(migrated, bare.root / "mlruns/mlflow.db")
    return bare


@pytest.fixture
def runs_of() -> Callable[[Workspace], list[Any]]:
    """All runs of a workspace, read with MLflow's own client, oldest first."""

    def read(workspace: Workspace) -> list[Any]:
        from mlflow.tracking import MlflowClient

        client = MlflowClient(tracking_uri=f"sqlite:///{workspace.root}/mlruns/mlflow.db")
        ids = [one.experiment_id for one in client.search_experiments() if one.name.startswith("vitrine")]
        return list(client.search_runs(ids, order_by=["attributes.start_time ASC"])) if ids else []

    return read


@pytest.fixture
def params() -> TrackingParams:
    return TrackingParams.model_validate(PARAMS["tracking"])


@pytest.fixture
def in_workspace(workspace: Workspace) -> Iterator[Workspace]:
    """Stand in the workspace's folder, as the command line does."""
    before = Path.cwd()
    os.chdir(workspace.root)
    yield workspace
    os.chdir(before)


@pytest.fixture
def per_query_bytes() -> Callable[[int, int], bytes]:
    return per_query
