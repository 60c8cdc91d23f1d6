"""Search over product vectors: our index (flat and hnsw) beside a plain numpy matrix product and sort.

``python -m benchmarks.search [--quick]`` prints a table and writes ``benchmarks/results/search.json``.
Vectors are unit vectors around common centres, as the embeddings of a catalogue are (products come in
kinds). Both sides have one thread and are measured in its CPU time, so that other work on the machine does
not count; figures are medians of alternating runs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

RESULTS = Path(__file__).parents[1] / "results" / "search.json"
DIMENSION, K, BATCH = 256, 10, 100
Search = Callable[[Any], Any]


def clustered(count: int, seed: int, centres: int = 500) -> Any:
    """Unit vectors float32 ``[count, 256]`` around random centres that all seeds share."""
    import numpy as np

    middle = np.random.default_rng(0).standard_normal((centres, DIMENSION)).astype(np.float32)
    generator = np.random.default_rng(seed)
    vectors = middle[generator.integers(0, centres, count)]
    vectors = vectors + generator.standard_normal(vectors.shape, np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def built(kind: str, vectors: Any, folder: Path) -> tuple[Any, float]:
    """Our index over ``vectors``, written and loaded, and the CPU seconds its building took."""
    import pyarrow as pa

    from components.retrieval.index import build_index, load_index
    from components.retrieval.params import IndexParams

    count = len(vectors)
    texts = {name: [""] * count for name in ("title", "category", "group_id", "split")}
    products = pa.table(
        {
            "product_id": [f"p{i:07d}" for i in range(count)],
            **texts,
            "product_type": [f"type {i % 20}" for i in range(count)],
            "attributes": [[]] * count,
        }
    )
    meta = {"dimension": DIMENSION, "count": count, "kind": "image"}
    params = IndexParams(
        kind=kind, hnsw_m=32, ef_construction=200, ef_search=128, exact_filter_below=0.2, threads=1
    )
    start = time.process_time()
    build_index(folder, vectors, products, meta | {"model_sha256": "", "preprocessing_sha256": ""}, params)
    seconds = time.process_time() - start
    return load_index(folder), seconds


def brute_force(vectors: Any) -> Search:
    """The peer: one matrix product, the best by argpartition, those sorted."""
    import numpy as np

    def search(queries: Any) -> Any:
        """Rows of the ``K`` best vectors of each query."""
        scores = queries @ vectors.T
        best = np.argpartition(scores, -K, axis=1)[:, -K:]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
        return np.take_along_axis(best, order, axis=1)

    return search


def rate(search: Search, queries: Any, batch: int) -> float:
    """Queries per second of CPU time when ``batch`` queries are asked at once."""
    start = time.process_time()
    for first in range(0, len(queries), batch):
        search(queries[first : first + batch])
    return len(queries) / (time.process_time() - start)


class Figure(NamedTuple):
    """What was measured of both sides; ``spread`` is (most - least) / median of our runs."""

    ours: float
    peer: float
    unit: str
    runs: int = 1
    spread: float = 0.0


def compared(ours: Search, peer: Search, queries: Any, batch: int, runs: int) -> Figure:
    """Queries per second of both: medians of alternating runs."""
    rate(ours, queries[:batch], batch), rate(peer, queries[:batch], batch)  # warm up
    pairs = [(rate(ours, queries, batch), rate(peer, queries, batch)) for _ in range(runs)]
    mine, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    first = [pair[0] for pair in pairs]
    return Figure(mine, theirs, "queries/s", runs, (max(first) - min(first)) / mine)


def row(case: str, figure: Figure) -> dict[str, Any]:
    """A row in the form that all benchmarks share; ratio above 1 means ours is better."""
    return {
        "case": case,
        "ours": round(figure.ours, 4),
        "peer": round(figure.peer, 4),
        "peer_name": "numpy brute force",
        "unit": figure.unit,
        "ratio": round(figure.ours / figure.peer, 3),
        "runs": figure.runs,
        "spread": round(figure.spread, 3),
    }


def recall(found: Any, exact: Any) -> float:
    """Share of the exact first K that were found."""
    return statistics.fmean(len({*a} & {*b}) / K for a, b in zip(found.tolist(), exact.tolist(), strict=True))


def measure(count: int, query_count: int, runs: int) -> list[dict[str, Any]]:
    """All rows for ``count`` products."""
    vectors, queries = clustered(count, 1), clustered(query_count, 2)
    peer = brute_force(vectors)
    exact = peer(queries)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("flat", "hnsw"):
            index, seconds = built(kind, vectors, Path(folder) / kind)
            print(f"{kind}: {count:,} vectors built in {seconds:.1f} s of CPU time")

            def ours(asked: Any, index: Any = index) -> Any:
                """The same by our index; bound now, for the loop goes on to another."""
                return index.search(asked, K)[1]

            name = f"{kind}, {count:,} products"
            rows.append(row(f"{name}, one query at a time", compared(ours, peer, queries, 1, runs)))
            rows.append(row(f"{name}, {BATCH} queries at once", compared(ours, peer, queries, BATCH, runs)))
            rows.append(row(f"{name}, recall@{K}", Figure(recall(ours(queries), exact), 1.0, "share")))
    return rows


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10,000 products instead of 100,000")
    quick = parser.parse_args().quick
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # before numpy is loaded, so that both sides have one thread
    rows = measure(10_000 if quick else 100_000, 200, 3 if quick else 5)
    print(f"{'case':<52}{'ours':>12}{'peer':>12}{'ratio':>8}  unit")
    for item in rows:
        figures = f"{item['ours']:>12,.3f}{item['peer']:>12,.3f}{item['ratio']:>8.2f}"
        print(f"{item['case']:<52}{figures}  {item['unit']}")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
