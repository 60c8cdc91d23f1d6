"""Door of retrieval: ``python -m components.retrieval index``."""

from __future__ import annotations

import json
from pathlib import Path

from components.retrieval.params import IndexParams
from components.stage import frame as door
from components.stage.params import load_params
from components.stage.publish import published
from components.stage.record import Record
from components.stage.resume import sha256_file

EMBEDDINGS = Path("data/embeddings")
PRODUCTS = Path("data/checked/products")
REPORT = Path("reports/quality/embeddings.json")
INDEX = Path("models/index")


def _require_passed_gate() -> None:
    """Refuse embeddings whose quality gate has not passed, or passed for other bytes than these."""
    from components.retrieval.errors import RetrievalDataError

    file = EMBEDDINGS / "embeddings.parquet"
    try:
        report = json.loads(REPORT.read_text(encoding="utf-8"))
        passed, seen = report["passed"], report["inputs"][file.as_posix()]
    except (OSError, ValueError, KeyError, TypeError):
        raise RetrievalDataError(
            f"{REPORT} is missing or unreadable; run the embeddings_quality stage."
        ) from None
    if passed is not True:
        raise RetrievalDataError(
            f"{REPORT} says that the embeddings did not pass; mend them before indexing."
        )
    if not file.is_file() or sha256_file(file) != seen:
        raise RetrievalDataError(
            f"{REPORT} judged another {file} than this one; run the embeddings_quality stage."
        )


def index(record: Record) -> None:
    """Stage ``index``: embeddings that passed their gate, with their products' columns -> models/index."""
    params = load_params("index", IndexParams)
    from components.retrieval.embeddings import read_embeddings
    from components.retrieval.index import build_index
    from components.retrieval.products import products_of

    record.parameters = params.model_dump()
    _require_passed_gate()
    with record.timed("read"):
        ids, vectors, meta = read_embeddings(EMBEDDINGS)
        products = products_of(PRODUCTS, ids)
    with record.timed("build"), published(INDEX) as folder:
        build_index(folder, vectors, products, meta, params)
    record.metrics = {"products": float(len(ids)), "dimension": float(vectors.shape[1])}
    record.outputs = [INDEX.as_posix()]


if __name__ == "__main__":
    raise SystemExit(door.run("retrieval", {"index": index}))
