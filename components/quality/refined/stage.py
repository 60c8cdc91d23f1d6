"""Stage ``refined_quality``: refuse refined listings that break the schema or say more than sellers did.

Refined listings are remade, not repaired: there is no quarantine, each check fails the gate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.catalog.format.schema import read_schema
from components.quality.errors import GateError
from components.quality.params import ListingQualityBlock, ListingQualityParams
from components.quality.refined.columns import (
    DECISION_COLUMNS,
    INSTRUCTION_COLUMNS,
    LISTING_COLUMNS,
    VERBS,
    Rows,
    decision_frame,
    instruction_frame,
    listing_frame,
    read,
    sellers,
)
from components.quality.reports import conclude
from components.quality.suite import load_suite
from components.quality.verdict import Verdict
from components.stage.paths import Paths
from components.stage.record import Record

if TYPE_CHECKING:
    import pandas as pd


def run(params: ListingQualityBlock, paths: Paths, record: Record) -> None:
    """Write the gate's page and summary.

    Raises:
        GateError: the data did not pass, or could not be checked.
    """
    with record.timed("check"):
        verdict = check_refined(paths.refined, paths.catalogue, params.listing_quality)
    conclude(verdict, paths.quality / "refined", record, params.listing_quality.page_examples)


def check_refined(folder: Path, catalogue: Path, params: ListingQualityParams) -> Verdict:
    """Check the files of ``folder`` against each other and against the checked ``catalogue``.

    Nothing is raised: what keeps a check from being done is in the verdict, which then has not passed.
    """
    verdict = Verdict("Refined listings", max_bad_fraction=0.0)
    with verdict.failing_closed():
        schema, sold = read_schema(catalogue / "schema.json"), sellers(catalogue)
        listings = read(folder / "products.parquet", LISTING_COLUMNS)
        decisions = read(folder / "decisions.parquet", DECISION_COLUMNS)
        instructions = read(folder / "instructions.parquet", INSTRUCTION_COLUMNS)
        if not listings:
            raise GateError(f"{folder}/products.parquet holds no listings; refine the catalogue again.")
        refined = {row["product_id"]: row for row in listings}
        counted = {"listings": listings, "decisions": decisions, "instructions": instructions}
        verdict.rows = {kind: len(rows) for kind, rows in counted.items()}
        grains = Counter(str(row["grain"]) for row in instructions)
        verdict.facts = {"Decisions": _verbs(decisions), "Instructions": dict(sorted(grains.items()))}
        for name in ("products", "decisions", "instructions"):
            verdict.note_input(folder / f"{name}.parquet")
        suite = load_suite("refined", params.expectations, params.model_dump())
        verdict.check("listings", listing_frame(listings, decisions, sold, schema), suite["listings"])
        verdict.check("decisions", decision_frame(decisions, sold), suite["decisions"])
        verdict.check("instructions", instruction_frame(instructions, refined, schema), suite["instructions"])
        verdict.check("listings", _facts(listings, decisions, sold), suite["all_listings"])
    return verdict


def _verbs(decisions: Rows) -> Counter[str]:
    counts = Counter({f"{field}: {verb}": 0 for field in ("attributes", "title") for verb in VERBS})
    counts.update(f"{row['field']}: {row['decision']}" for row in decisions)
    return counts


def _share(some: int, others: int, of_none: float = 1.0) -> float:
    return some / (some + others) if some + others else of_none


def _facts(listings: Rows, decisions: Rows, sold: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """One row of counts about the whole."""
    import pandas as pd

    ids = [row["product_id"] for row in listings]
    have = set(ids)
    verbs = _verbs(decisions)
    kept = {
        field: _share(verbs[f"{field}: keep"] + verbs[f"{field}: normalise"], verbs[f"{field}: drop"])
        for field in ("attributes", "title")
    }
    changed = {d["product_id"] for d in decisions if d["field"] == "title" and d["decision"] != "keep"}
    facts = {
        "missing": len(set(sold) - have),
        "in_order": [name for name in sold if name in have] == [n for n in ids if n in sold],
        "kept_values": kept["attributes"],
        "kept_words": kept["title"],
        "changed_values": _share(verbs["attributes: normalise"], verbs["attributes: keep"], 0.0),
        "changed_titles": len(changed) / max(1, len(listings)),
    }
    return pd.DataFrame([facts])
