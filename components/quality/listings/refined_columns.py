"""What the checks need to know of refined listings, of the decisions behind them, and of instructions."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.catalog.format.parquet import row_groups
from components.catalog.format.records import PRODUCTS
from components.catalog.format.schema import CatalogSchema, listing_problems
from components.catalog.format.shards import Catalogue

if TYPE_CHECKING:
    import pandas as pd

LISTING_COLUMNS = ("product_id", "split", "category", "product_type", "title", "attributes", "visible")
DECISION_COLUMNS = (
    "product_id", "field", "name", "value", "decision", "new_value", "judge", "reason", "support"
)  # fmt: skip
INSTRUCTION_COLUMNS = ("product_id", "split", "grain", "prompt", "answer")
FIELDS, VERBS = ("attributes", "title"), ("keep", "normalise", "drop")
Rows = list[dict[str, Any]]


def read(file: Path, columns: Sequence[str]) -> Rows:
    """The rows of a file.

    Raises:
        CatalogueError: it is missing, damaged, or lacks a column.
    """
    return [row for table in row_groups(file, columns) for row in table.to_pylist()]


def sellers(catalogue: Path) -> dict[str, dict[str, Any]]:
    """Sellers' listings by product id, without pictures and descriptions, in catalogue order."""
    columns = [name for name in PRODUCTS.names if name not in ("image", "description", "group_id")]
    rows = (
        row
        for shard in Catalogue(catalogue).shards
        for table in row_groups(shard, columns)
        for row in table.to_pylist()
    )
    return {row["product_id"]: row for row in rows}


def _pairs(row: Mapping[str, Any]) -> dict[str, str]:
    return {pair["name"] or "": pair["value"] or "" for pair in row["attributes"] or ()}


def listing_frame(
    rows: Rows, decisions: Rows, sold: Mapping[str, Mapping[str, Any]], schema: CatalogSchema
) -> pd.DataFrame:
    """One row per refined listing: what is wrong with it, one column per kind of problem."""
    import pandas as pd

    told: defaultdict[str, Rows] = defaultdict(list)
    for decision in decisions:
        told[decision["product_id"]].append(decision)
    return pd.DataFrame([_listing(row, told[row["product_id"]], sold, schema) for row in rows])


def _listing(
    row: dict[str, Any], told: Rows, sold: Mapping[str, Mapping[str, Any]], schema: CatalogSchema
) -> dict[str, Any]:
    seller = sold.get(row["product_id"])
    stated = _pairs(row)
    names = [pair["name"] for pair in row["attributes"] or ()]
    problems = listing_problems(
        schema, row["category"] or "", row["product_type"] or "", stated, require=False
    )
    identity = [n for n in ("split", "category", "product_type") if seller and row[n] != seller[n]]
    invisible = sorted(set(row["visible"] or ()) - set(stated))
    return {
        "product_id": row["product_id"] or None,
        "title_chars": len(row["title"] or ""),
        "identity_problem": f"{', '.join(identity)} differ from the catalogue's" if identity else "",
        "schema_problem": "; ".join(f"{p.field} {p.reason}" for p in problems),
        "repeated_problem": "an attribute is given twice" if len(set(names)) < len(names) else "",
        "visible_problem": f"visible names {', '.join(invisible)[:80]}, which it has not"
        if invisible
        else "",
        "added_problem": _added(row, stated, seller) if seller else "",
        "story_problem": _story(row, stated, told, seller) if seller else "",
    }


def _added(row: Mapping[str, Any], stated: Mapping[str, str], seller: Mapping[str, Any]) -> str:
    """What the refined listing says and the seller's does not say in any form."""
    if new := sorted(set(stated) - set(_pairs(seller))):
        return f"attributes.{new[0][:80]} is not of the seller"
    if len((row["title"] or "").split()) > len((seller["title"] or "").split()):
        return "the title has more words than the seller's"
    return ""


def _story(row: Mapping[str, Any], stated: Mapping[str, str], told: Rows, seller: Mapping[str, Any]) -> str:
    """Where the decisions do not lead from the seller's listing to the refined one."""
    values = _pairs(seller)
    told_of = {(d["field"], d["name"]): d for d in told}
    if len(told_of) < len(told):
        return "two decisions about one thing"
    expected = {}
    for name, value in values.items():
        decision = told_of.pop(("attributes", name), None)
        if decision is None or decision["value"] != value:
            return f"no decision about attributes.{name[:80]} as the seller stated it"
        if decision["decision"] != "drop":
            expected[name] = decision["new_value"]
    if expected != stated:
        return "the decisions lead to other attributes"
    words = (seller["title"] or "").split()
    found = [told_of.pop(("title", str(at)), None) for at in range(len(words))]
    if any(d is None or d["value"] != word for d, word in zip(found, words, strict=True)):
        return "no decision about each word of the seller's title"
    left = [d["new_value"] for d in found if d is not None and d["decision"] != "drop"]
    if " ".join(left) != " ".join((row["title"] or "").split()):
        return "the decisions lead to another title"
    return f"a decision about {next(iter(told_of))}, which the seller has not" if told_of else ""


def decision_frame(rows: Rows) -> pd.DataFrame:
    """One row per decision."""
    import pandas as pd

    return pd.DataFrame([{"product_id": row["product_id"], "problem": _decision(row)} for row in rows])


def _decision(row: Mapping[str, Any]) -> str:
    if row["field"] not in FIELDS:
        return f"field {row['field']!r} is unknown"
    if row["decision"] not in VERBS:
        return f"decision {row['decision']!r} is unknown"
    if not (row["reason"] or "").strip() or not (row["judge"] or "").strip():
        return "it has no reason or no judge"
    support = row["support"]
    if support is not None and not (math.isfinite(support) and 0 <= support <= 1):
        return f"support {support} is no probability"
    kept = row["decision"] == "keep" and row["new_value"] == row["value"]
    dropped = row["decision"] == "drop" and not row["new_value"]
    changed = row["decision"] == "normalise" and row["new_value"] not in ("", row["value"])
    return "" if kept or dropped or changed else f"{row['decision']} does not fit its new value"


def instruction_frame(
    rows: Rows, refined: Mapping[str, Mapping[str, Any]], schema: CatalogSchema
) -> pd.DataFrame:
    """One row per instruction sample."""
    import pandas as pd

    columns = [
        {
            "product_id": row["product_id"],
            "prompt_chars": len((row["prompt"] or "").strip()),
            "answer_chars": len((row["answer"] or "").strip()),
            "product_problem": _product(row, refined.get(row["product_id"])),
            "answer_problem": _answer(row, refined.get(row["product_id"]), schema),
        }
        for row in rows
    ]
    return pd.DataFrame(columns)


def _product(row: Mapping[str, Any], listing: Mapping[str, Any] | None) -> str:
    if listing is None:
        return "its product is not refined"
    return "" if row["split"] == listing["split"] else "its split is not its product's"


def _answer(row: Mapping[str, Any], listing: Mapping[str, Any] | None, schema: CatalogSchema) -> str:
    """Why the answer to a whole-listing question is not the refined listing; other grains are not looked at.

    Whether every answer is entailed is checked where it is written; this is the check from outside of the
    grain that a model is judged by.
    """
    if row["grain"] != "listing" or listing is None:
        return ""
    try:
        said = json.loads(row["answer"])
    except (ValueError, RecursionError):
        return "the listing is not JSON"
    if not isinstance(said, dict) or set(said) != {"title", "attributes"}:
        return "the listing is not an object of title and attributes"
    if said["title"] != listing["title"] or not isinstance(said["attributes"], dict):
        return "its title is not that of the refined listing"
    stated, known = _pairs(listing), schema.categories[listing["category"]].attributes
    same = set(said["attributes"]) == set(stated) and all(
        _equal(value, stated[name], known[name].type) for name, value in said["attributes"].items()
    )
    return "" if same else "its attributes are not those of the refined listing"


def _equal(said: object, stated: str, kind: str) -> bool:
    if kind == "number" and isinstance(said, int | float) and not isinstance(said, bool):
        return float(said) == float(stated)
    return said == stated
