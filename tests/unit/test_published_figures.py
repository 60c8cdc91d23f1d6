"""How an evaluation ends: figures and tables replace the old ones, and a record keeps the plain values."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from components.retrieval.published_figures import flat_figures, publish_figures

METRICS = {
    "raw": {"mrr": {"value": 0.25, "low": 0.2, "high": 0.3, "n": 40}},
    "full": {
        "mrr": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 40},
        "hits_at_5": {"value": 0.75, "low": 0.7, "high": 0.8, "n": 40},
    },
    "_tests": [{"metric": "mrr", "a": "full", "b": "raw", "difference": 0.25}],
}


def test_a_record_keeps_values_without_intervals_and_tests() -> None:
    assert flat_figures(METRICS) == {"raw.mrr": 0.25, "full.mrr": 0.5, "full.hits_at_5": 0.75}


def test_both_outputs_replace_what_an_earlier_run_left(tmp_path: Path) -> None:
    figures, folder = tmp_path / "metrics/x.json", tmp_path / "per_query/x"
    folder.mkdir(parents=True)
    (folder / "renamed_since.parquet").write_bytes(b"old")
    rows = pa.table({"query_id": ["q1", "q2"], "mrr": [1.0, None]})
    outputs = publish_figures(METRICS, {"x.parquet": rows}, figures, folder)
    assert outputs == [str(figures), str(folder)]
    assert [file.name for file in folder.iterdir()] == ["x.parquet"]
    assert pq.read_table(folder / "x.parquet").equals(rows)
    assert json.loads(figures.read_text()) == METRICS


def test_the_order_of_variants_changes_no_byte(tmp_path: Path) -> None:
    turned = dict(reversed(METRICS.items()))
    for name, metrics in (("a", METRICS), ("b", turned)):
        publish_figures(metrics, {}, tmp_path / f"{name}.json", tmp_path / name)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
