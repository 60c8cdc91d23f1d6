"""Stage ``embeddings_quality``: refuse vectors that are broken, misplaced or collapsed.

Embeddings are remade, not repaired: there is no quarantine, each check fails the gate.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from components.catalog.format.parquet import row_groups
from components.catalog.format.shards import Catalogue
from components.quality.errors import GateError
from components.quality.params import QualityBlock, QualityParams
from components.quality.reports import conclude
from components.quality.suite import load_suite
from components.quality.verdict import Verdict
from components.stage.paths import Paths
from components.stage.record import Record

if TYPE_CHECKING:
    import pandas as pd

META_KEYS = ("dimension", "count", "kind", "model_sha256", "preprocessing_sha256")
# Vectors that agree to this many decimals are the same: a collapsed model repeats them but for rounding.
DECIMALS = 4


def run(params: QualityBlock, paths: Paths, record: Record) -> None:
    """Write the gate's page and summary.

    Raises:
        GateError: the data did not pass, or could not be checked.
    """
    with record.timed("check"):
        verdict = check_embeddings(paths.embeddings, paths.catalogue, params.quality)
    conclude(verdict, paths.quality / "embeddings", record, params.quality.page_examples)


class _Vectors(NamedTuple):
    frame: pd.DataFrame  # product_id, finite, norm, vector (digest of the rounded vector)
    dimension: int
    mean_cosine: float  # of all pairs, a vector with itself included


def check_embeddings(folder: Path, catalogue: Path, params: QualityParams) -> Verdict:
    """Check ``embeddings.parquet`` and ``meta.json`` of ``folder`` against the checked ``catalogue``.

    Nothing is raised: what keeps a check from being done is in the verdict, which then has not passed.
    """
    verdict = Verdict("Embeddings", max_bad_fraction=0.0)
    with verdict.failing_closed():
        file = folder / "embeddings.parquet"
        vectors = _read(file)
        verdict.rows["embeddings"] = len(vectors.frame)
        verdict.facts["Embeddings"] = {"vectors": len(vectors.frame), "dimension": vectors.dimension}
        verdict.note_input(file)
        products = [str(i) for i in Catalogue(catalogue).table(["product_id"])["product_id"].to_pylist()]
        facts = _facts(vectors, products, _meta(folder / "meta.json"))
        tolerance = params.unit_norm_tolerance
        values = {**params.model_dump(), "min_norm": 1 - tolerance, "max_norm": 1 + tolerance}
        suite = load_suite("embeddings", params.expectations, values)
        known = vectors.frame["product_id"].isin(products)
        verdict.check("embeddings", vectors.frame.assign(product_exists=known), suite["vectors"])
        verdict.check("embeddings", facts, suite["all_vectors"])
    return verdict


def _read(file: Path) -> _Vectors:
    import pandas as pd

    frames, total, dimension = [], np.zeros(0), 0
    for table in row_groups(file, ["product_id", "vector"]):
        column = table["vector"].combine_chunks()
        if column.null_count or not hasattr(column.type, "list_size") or column.type.list_size < 1:
            raise GateError(f"{file} must hold one vector of a fixed size for every product; embed again.")
        dimension = column.type.list_size
        array = np.asarray(column.flatten(), np.float64).reshape(-1, dimension)
        total = array.sum(axis=0) + (total if total.size else 0)
        rounded = np.ascontiguousarray(np.round(array, DECIMALS) + 0.0)
        columns = {
            "product_id": table["product_id"].to_pylist(),
            "finite": np.isfinite(array).all(axis=1),
            "norm": np.linalg.norm(array, axis=1),
            "vector": [hashlib.blake2b(row.tobytes(), digest_size=16).hexdigest() for row in rounded],
        }
        frames.append(pd.DataFrame(columns))
    if not sum(map(len, frames)):
        raise GateError(f"{file} holds no vectors; embed the catalogue again.")
    frame = pd.concat(frames, ignore_index=True)
    mean = total / len(frame)
    # A NaN must fail the check of the mean cosine, and Great Expectations lets null pass.
    cosine = float(mean @ mean) if np.isfinite(mean).all() else np.inf
    return _Vectors(frame.assign(norm=frame["norm"].fillna(-1.0)), dimension, cosine)


def _meta(file: Path) -> dict[str, Any]:
    try:
        meta = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GateError(f"{file} cannot be read ({error}); embed the catalogue again.") from None
    missing = [key for key in META_KEYS if not isinstance(meta, dict) or meta.get(key) in (None, "")]
    if missing:
        raise GateError(f"{file} does not state {', '.join(missing)}; embed the catalogue again.")
    return dict(meta)


def _facts(vectors: _Vectors, products: list[str], meta: dict[str, Any]) -> pd.DataFrame:
    """One row of counts about the whole."""
    import pandas as pd

    ids = vectors.frame["product_id"].tolist()
    several = len(ids) > 1
    facts = {
        "missing": len(set(products) - set(ids)),
        "out_of_order": sum(a > b for a, b in zip(map(str, ids), map(str, ids[1:]), strict=False)),
        "misstated": int(meta["count"] != len(ids)) + int(meta["dimension"] != vectors.dimension),
        "identical": vectors.frame["vector"].value_counts().iloc[0] / len(ids) if several else 0.0,
        "mean_cosine": vectors.mean_cosine if several else 0.0,
    }
    return pd.DataFrame([facts])
