"""Two profiles with the same 5,000 queries, as their worktrees leave them: for timing a comparison."""

from __future__ import annotations

import io
import json
from pathlib import Path

import yaml

from benchmarks.tracking.copies import Execution, kept, kept_listing
from components.stage.record import STATE
from components.tracking.lineage.lockfile import Output, located
from components.tracking.publish.datasets import CHECKED, checked_data

QUERIES, VARIANTS = 5000, 4
METRICS = ("hits_at_5", "mrr", "ndcg_at_10")
SHOWN = 10  # products found for a query


def two_profiles(root: Path, real: list[Execution]) -> None:
    """Leave the worktrees of profiles ``before`` and ``after``, with the catalogue of the real runs."""
    checked = next(found for one in reversed(real) if (found := checked_data(one.join.entry)))
    products = _products(root, checked.path, checked.md5)
    for seed, name in enumerate(("before", "after")):
        work = root / STATE / "work" / name
        work.mkdir(parents=True)
        (work / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
        rate = 1e-4 * (1 + seed)
        values = {"report": {"profile": "demo"}, "fuse": {"training": {"lr": rate}}}
        (work / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
        (work / ".dvc").symlink_to(root / ".dvc")
        table = _results(seed, products)
        cell = {"value": 0.5, "low": 0.48, "high": 0.52, "n": QUERIES}
        metrics = {f"v{i}": dict.fromkeys(METRICS, cell) for i in range(VARIANTS)}
        figures = kept(root, json.dumps(metrics).encode())
        folder = kept_listing(root, {"search.parquet": kept(root, table)})
        entry = {
            "cmd": "python -m components.stage fusion.evaluate",
            "deps": [{"path": CHECKED, "md5": checked.md5}],
            "params": {"params.yaml": {"fuse.training.lr": rate, "report.profile": "demo"}},
            "outs": [
                {"path": "metrics/search.json", "md5": figures},
                {"path": "results/per_query/search", "md5": folder},
            ],
        }
        (work / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"search_eval": entry}}))


def _products(root: Path, path: str, md5: str) -> list[str]:
    import pyarrow.parquet as pq

    files = located(root, Output(path=path, md5=md5))
    shards = [file for name, file in sorted(files.items()) if "/products/" in name]
    return [
        one for shard in shards[:4] for one in pq.read_table(shard, columns=["product_id"])[0].to_pylist()
    ]


def _results(seed: int, products: list[str]) -> bytes:
    """Per-query results of four systems, two kinds of queries, as Parquet; ``seed`` 1 finds a little more."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    count, chance = QUERIES * VARIANTS, np.random.default_rng(seed)
    drawn = chance.integers(0, len(products), (count, SHOWN))
    table = {
        "variant": np.repeat([f"v{i}" for i in range(VARIANTS)], QUERIES),
        "task": ["queries"] * count,
        "query_id": [f"q{i}" for i in range(QUERIES)] * VARIANTS,
        "kind": ["visual", "textual"] * (count // 2),
        "text": [f"query {i}" for i in range(QUERIES)] * VARIANTS,
        "hits_at_5": (chance.random(count) < 0.5 + 0.05 * seed).astype(float),
        "mrr": chance.random(count) ** (1 - 0.1 * seed),
        "ndcg_at_10": chance.random(count),
        "top": [[products[i] for i in row] for row in drawn],
    }
    sink = io.BytesIO()
    pq.write_table(pa.table(table), sink)
    return sink.getvalue()
