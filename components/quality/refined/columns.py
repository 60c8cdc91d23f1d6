"""What the checks need to know of refined listings, of the decisions behind them, and of instructions."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.catalog.format.attributes import Attributes, Value, facts, of_facts
from components.catalog.format.parquet import row_groups
from components.catalog.format.records import PRODUCTS
from components.catalog.format.schema import Attribute, CatalogSchema, listing_problems
from components.catalog.format.shards import Catalogue

if TYPE_CHECKING:
    import pandas as pd

LISTING_COLUMNS = ("product_id", "split", "category", "product_type", "title", "attributes", "visible")
DECISION_COLUMNS = (
    "product_id", "field", "name", "value", "decision", "new_value", "judge", "reason", "support"
)  # fmt: skip
INSTRUCTION_COLUMNS = ("product_id", "split", "grain", "prompt", "answer")
DECISION_FRAME = (
    "product_id", "field", "decision", "reason", "judge", "support", "product_exists", "fits"
)  # fmt: skip
INSTRUCTION_FRAME = (
    "product_id", "split", "grain", "prompt", "answer", "product_exists", "same_split", "answer_fits",
    "answer_problem",
)  # fmt: skip
VERBS = ("keep", "normalise", "drop")
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
    return {row["product_id"]: row for row in Catalogue(catalogue).table(columns).to_pylist()}


def _stated(row: Mapping[str, Any]) -> Attributes:
    return of_facts((pair["name"] or "", pair["value"] or "") for pair in row["attributes"] or ())


def listing_frame(
    rows: Rows, decisions: Rows, sold: Mapping[str, Mapping[str, Any]], schema: CatalogSchema
) -> pd.DataFrame:
    """One row per refined listing, beside what its seller wrote; ``*_problem`` says what is wrong."""
    import pandas as pd

    told: defaultdict[str, Rows] = defaultdict(list)
    for decision in decisions:
        told[decision["product_id"]].append(decision)
    return pd.DataFrame([_listing(row, told[row["product_id"]], sold, schema) for row in rows])


def _listing(
    row: dict[str, Any], told: Rows, sold: Mapping[str, Mapping[str, Any]], schema: CatalogSchema
) -> dict[str, Any]:
    seller = sold.get(row["product_id"])
    stated = _stated(row)
    pairs = [(pair["name"], pair["value"]) for pair in row["attributes"] or ()]
    problems = listing_problems(
        schema, row["category"] or "", row["product_type"] or "", stated, require=False
    )
    identity = [n for n in ("split", "category", "product_type") if seller and row[n] != seller[n]]
    invisible = sorted(set(row["visible"] or ()) - set(stated))
    added = _added(row, stated, seller) if seller else ""
    story = _story(row, stated, told, seller) if seller else ""
    return {
        **{name: row[name] for name in ("product_id", "split", "category", "product_type")},
        "title": row["title"] or "",
        "product_exists": seller is not None,
        "identity_kept": not identity,
        "identity_problem": f"{', '.join(identity)} differ from the catalogue's",
        "outside_schema": len(problems),
        "schema_problem": "; ".join(f"{p.field} {p.reason}" for p in problems),
        "repeated_attributes": len(pairs) - len(set(pairs)),
        "invisible": len(invisible),
        "visible_problem": f"visible names {', '.join(invisible)[:80]}, which it has not",
        "nothing_added": not added,
        "added_problem": added,
        "explained": not story,
        "explained_problem": story,
    }


def _added(row: Mapping[str, Any], stated: Mapping[str, Value], seller: Mapping[str, Any]) -> str:
    """What the refined listing says and the seller's does not say in any form."""
    if new := sorted(set(stated) - set(_stated(seller))):
        return f"attributes.{new[0][:80]} is not of the seller"
    if len((row["title"] or "").split()) > len((seller["title"] or "").split()):
        return "the title has more words than the seller's"
    return ""


def _story(row: Mapping[str, Any], stated: Mapping[str, Value], told: Rows, seller: Mapping[str, Any]) -> str:
    """Where the decisions do not lead from the seller's listing to the refined one."""
    told_of = {_about(d): d for d in told}
    if len(told_of) < len(told):
        return "two decisions about one thing"
    expected = []
    for name, value in facts(_stated(seller)):
        decision = told_of.pop(("attributes", name, value), None)
        if decision is None:
            return f"no decision about attributes.{name[:80]} as the seller stated it"
        if decision["decision"] != "drop":
            expected.append((name, decision["new_value"]))
    if of_facts(expected) != stated:
        return "the decisions lead to other attributes"
    words = (seller["title"] or "").split()
    found = [told_of.pop(("title", str(at), ""), None) for at in range(len(words))]
    if any(d is None or d["value"] != word for d, word in zip(found, words, strict=True)):
        return "no decision about each word of the seller's title"
    left = [d["new_value"] for d in found if d is not None and d["decision"] != "drop"]
    if " ".join(left) != " ".join((row["title"] or "").split()):
        return "the decisions lead to another title"
    return f"a decision about {next(iter(told_of))[:2]}, which the seller has not" if told_of else ""


def _about(decision: Mapping[str, Any]) -> tuple[str, str, str]:
    """What a decision is about: a value of an attribute, or a word of the title by its place."""
    value = decision["value"] if decision["field"] == "attributes" else ""
    return decision["field"], decision["name"], value


def decision_frame(rows: Rows, sold: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """One row for each decision, with the columns that the suite names."""
    import pandas as pd

    return pd.DataFrame([_decision(row, sold) for row in rows], columns=DECISION_FRAME)


def _decision(row: Mapping[str, Any], sold: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    support = row["support"]
    return {
        **{name: row[name] or "" for name in ("product_id", "field", "decision", "reason", "judge")},
        # Great Expectations lets null pass, and NaN is null to pandas: only no support may be null
        "support": math.inf if support is not None and math.isnan(support) else support,
        "product_exists": row["product_id"] in sold,
        "fits": _fits(row),
    }


def _fits(row: Mapping[str, Any]) -> bool | None:
    """Whether the new value is what the decision makes of the value; None for an unknown decision."""
    if row["decision"] not in VERBS:
        return None
    kept = row["decision"] == "keep" and row["new_value"] == row["value"]
    dropped = row["decision"] == "drop" and not row["new_value"]
    changed = row["decision"] == "normalise" and row["new_value"] not in ("", row["value"])
    return kept or dropped or changed


def instruction_frame(
    rows: Rows, refined: Mapping[str, Mapping[str, Any]], schema: CatalogSchema
) -> pd.DataFrame:
    """One row for each instruction sample, with the columns that the suite names."""
    import pandas as pd

    columns = [_instruction(row, refined.get(row["product_id"]), schema) for row in rows]
    return pd.DataFrame(columns, columns=INSTRUCTION_FRAME)


def _instruction(
    row: Mapping[str, Any], listing: Mapping[str, Any] | None, schema: CatalogSchema
) -> dict[str, Any]:
    problem = _answer(row, listing, schema)
    return {
        **{name: row[name] for name in ("product_id", "split", "grain")},
        "prompt": (row["prompt"] or "").strip(),
        "answer": (row["answer"] or "").strip(),
        "product_exists": listing is not None,
        "same_split": None if listing is None else row["split"] == listing["split"],
        "answer_fits": not problem,
        "answer_problem": problem,
    }


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
    if not isinstance(said, dict) or set(said) - {"type"} != {"title", "attributes"}:
        return "the listing is not an object of type, attributes and title"
    if said.get("type", listing["product_type"]) != listing["product_type"]:
        return "its type is not that of the refined listing"
    if said["title"] != listing["title"] or not isinstance(said["attributes"], dict):
        return "its title is not that of the refined listing"
    stated, known = _stated(listing), schema.categories[listing["category"]].attributes
    same = set(said["attributes"]) == set(stated) and all(
        _equal(value, stated[name], known[name]) for name, value in said["attributes"].items()
    )
    return "" if same else "its attributes are not those of the refined listing"


def _equal(said: object, stated: Value, known: Attribute) -> bool:
    if known.multiple:
        return said == known.in_order(stated)
    if not isinstance(stated, str):
        return False
    if known.type == "number" and isinstance(said, int | float) and not isinstance(said, bool):
        return float(said) == float(stated)
    return said == stated
