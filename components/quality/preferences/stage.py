"""Stage ``preferences_quality``: refuse preference pairs that teach nothing, or the wrong thing.

Pairs are remade, not repaired: there is no quarantine, each check fails the gate.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.catalog.format.attributes import Value, as_value
from components.catalog.format.schema import CatalogSchema, listing_problems, read_schema
from components.quality.errors import GateError
from components.quality.params import ListingQualityBlock, ListingQualityParams
from components.quality.refined.columns import read, sellers
from components.quality.reports import conclude
from components.quality.suite import load_suite
from components.quality.verdict import Verdict
from components.stage.paths import Paths
from components.stage.record import Record

COLUMNS = ("product_id", "category", "prompt", "chosen", "rejected", "kind", "checks")


def run(params: ListingQualityBlock, paths: Paths, record: Record) -> None:
    """Write the gate's page and summary.

    Raises:
        GateError: the data did not pass, or could not be checked.
    """
    with record.timed("check"):
        pairs = paths.preferences / "pairs.parquet"
        verdict = check_preferences(pairs, paths.catalogue, params.listing_quality)
    conclude(verdict, paths.quality / "preferences", record, params.listing_quality.page_examples)


def check_preferences(file: Path, catalogue: Path, params: ListingQualityParams) -> Verdict:
    """Check ``pairs.parquet`` against the checked ``catalogue``.

    Nothing is raised: what keeps a check from being done is in the verdict, which then has not passed.
    """
    import pandas as pd

    verdict = Verdict("Preference pairs", max_bad_fraction=0.0)
    with verdict.failing_closed():
        schema, sold = read_schema(catalogue / "schema.json"), sellers(catalogue)
        pairs = read(file, COLUMNS)
        if not pairs:
            raise GateError(f"{file} holds no pairs; make them again.")
        verdict.rows["pairs"] = len(pairs)
        kinds = Counter(str(row["kind"]) for row in pairs)
        verdict.facts["Rejected answers"] = dict(sorted(kinds.items()))
        verdict.note_input(file)
        frame = pd.DataFrame([_pair(row, sold, schema) for row in pairs])
        facts = pd.DataFrame([{"kind_share": max(kinds.values()) / len(pairs)}])
        suite = load_suite("preferences", params.expectations, params.model_dump())
        verdict.check("pairs", frame, suite["pairs"])
        verdict.check("pairs", facts, suite["all_pairs"])
    return verdict


def _pair(
    row: Mapping[str, Any], sold: Mapping[str, Mapping[str, Any]], schema: CatalogSchema
) -> dict[str, Any]:
    product = sold.get(row["product_id"])
    chosen, rejected = (row["chosen"] or "").strip(), (row["rejected"] or "").strip()
    checks = [str(check) for check in row["checks"] or () if str(check).strip()]
    problem = _listing(chosen, product, schema) if product else ""
    return {
        **{name: row[name] or "" for name in ("product_id", "category", "prompt", "kind")},
        "chosen": chosen,
        "rejected": rejected,
        "checks": len(checks),
        "product_exists": product is not None,
        "product_split": product["split"] if product else None,
        "same_category": row["category"] == product["category"] if product else None,
        "sides_differ": bool(_loaded(chosen) != _loaded(rejected)),  # in whatever order and spacing
        "chosen_fits": not problem,
        "chosen_problem": problem,
    }


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _value(said: Any, multiple: bool) -> Value:
    held = said if multiple and isinstance(said, list) and said else [said]
    return as_value(part if isinstance(part, str) else json.dumps(part) for part in held)


def _listing(text: str, product: Mapping[str, Any], schema: CatalogSchema) -> str:
    said = _loaded(text)
    if not isinstance(said, dict) or not {"attributes"} <= set(said) <= {"type", "attributes", "title"}:
        return "the chosen side is not a JSON object of type, attributes and title"
    product_type = said.get("type", product["product_type"])
    if not all(isinstance(text, str) for text in (product_type, said.get("title", ""))):
        return "the chosen side's type or title is no text"
    if not isinstance(said["attributes"], dict):
        return "the chosen side's attributes are no object"
    known = schema.categories[product["category"]].attributes
    stated = {
        name: _value(value, name in known and known[name].multiple)
        for name, value in said["attributes"].items()
    }
    problems = listing_problems(schema, product["category"], product_type, stated, require=False)
    return f"chosen: {problems[0].field} {problems[0].reason}" if problems else ""
