"""The gate of preference pairs: two different sides, the chosen one in the schema, all of the train split.

Pairs are remade, not repaired: there is no quarantine, each check fails the gate.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.catalog.format.schema import CatalogSchema, listing_problems, read_schema
from components.quality.errors import GateError
from components.quality.expectations import Check, between, no_problem, validate
from components.quality.listings.params import ListingQualityParams
from components.quality.listings.refined_columns import Rows, read, sellers
from components.quality.verdict import Verdict

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("product_id", "category", "prompt", "chosen", "rejected", "kind", "checks")


def check_preferences(file: Path, catalogue: Path, params: ListingQualityParams) -> Verdict:
    """Check ``pairs.parquet`` against the checked ``catalogue``.

    Nothing is raised: what keeps a check from being done is in the verdict, which then has not passed.
    """
    verdict = Verdict("Preference pairs", max_bad_fraction=0.0)
    with verdict.failing_closed():
        _judge(file, catalogue, params, verdict)
    return verdict


def _judge(file: Path, catalogue: Path, params: ListingQualityParams, verdict: Verdict) -> None:
    import pandas as pd

    schema, sold = read_schema(catalogue / "schema.json"), sellers(catalogue)
    pairs = read(file, COLUMNS)
    if not pairs:
        raise GateError(f"{file} holds no pairs; make them again.")
    verdict.rows["pairs"] = len(pairs)
    kinds = Counter(str(row["kind"]) for row in pairs)
    verdict.facts["Rejected answers"] = dict(sorted(kinds.items()))
    verdict.note_input(file)
    frame = pd.DataFrame([_pair(row, sold, schema) for row in pairs])
    verdict.outcomes += validate(frame, _pair_checks(params))
    verdict.outcomes += validate(_facts(pairs, kinds), _set_checks(params))


def _pair(
    row: Mapping[str, Any], sold: Mapping[str, Mapping[str, Any]], schema: CatalogSchema
) -> dict[str, Any]:
    product = sold.get(row["product_id"])
    chosen, rejected = (row["chosen"] or "").strip(), (row["rejected"] or "").strip()
    checks = [str(check) for check in row["checks"] or () if str(check).strip()]
    return {
        "product_problem": _product(row, product),
        "kind_problem": "" if (row["kind"] or "").strip() else "its kind is not named",
        "prompt_problem": "" if (row["prompt"] or "").strip() else "the question is blank",
        "sides_problem": "both sides are equal" if _same(chosen, rejected) else "",
        "checks_problem": "" if checks else "nothing says why the rejected side is worse",
        "chosen_problem": _listing(chosen, product, schema) if product else "",
        "longest": max(len(chosen), len(rejected)),
        "shortest": min(len(chosen), len(rejected)),
    }


def _product(row: Mapping[str, Any], product: Mapping[str, Any] | None) -> str:
    if product is None:
        return "its product is not in the catalogue"
    if product["split"] != "train":
        return f"its product is of the {product['split']} split"
    return "" if row["category"] == product["category"] else "its category is not its product's"


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _same(chosen: str, rejected: str) -> bool:
    """Whether both sides say the same, in whatever order and spacing."""
    return bool(_loaded(chosen) == _loaded(rejected))


def _listing(text: str, product: Mapping[str, Any], schema: CatalogSchema) -> str:
    said = _loaded(text)
    if not isinstance(said, dict) or set(said) != {"title", "attributes"}:
        return "the chosen side is not a JSON object of title and attributes"
    if not isinstance(said["title"], str) or not isinstance(said["attributes"], dict):
        return "the chosen side's title is no text or its attributes are no object"
    stated = {name: v if isinstance(v, str) else json.dumps(v) for name, v in said["attributes"].items()}
    problems = listing_problems(schema, product["category"], product["product_type"], stated, require=False)
    return f"chosen: {problems[0].field} {problems[0].reason}" if problems else ""


def _facts(pairs: Rows, kinds: Counter[str]) -> pd.DataFrame:
    import pandas as pd

    repeated = len(pairs) - len({(row["product_id"], row["chosen"], row["rejected"]) for row in pairs})
    share = max(kinds.values()) / len(pairs)
    return pd.DataFrame([{"pairs": len(pairs), "repeated": repeated, "kind_share": share}])


def _pair_checks(params: ListingQualityParams) -> list[Check]:
    most = params.max_answer_chars
    problems = [
        ("product_id", "its product is of the train split", "product_problem"),
        ("kind", "the kind of the rejected side is named", "kind_problem"),
        ("prompt", "a question is asked", "prompt_problem"),
        ("rejected", "the two sides differ", "sides_problem"),
        ("checks", "it is said why the rejected side is worse", "checks_problem"),
        ("chosen", "the chosen side is a listing that fits the schema", "chosen_problem"),
    ]
    return [
        *(no_problem("pairs", name, says, column, "set") for name, says, column in problems),
        between(
            "pairs", "chosen", "neither side is blank", "set", "shortest", "a side is blank", min_value=1
        ),
        between(
            "pairs",
            "rejected",
            f"a side has at most {most:,} characters",
            "set",
            "longest",
            "one has {value}",
            max_value=most,
        ),
    ]


def _set_checks(params: ListingQualityParams) -> list[Check]:
    share = params.max_kind_share
    return [
        between(
            "pairs",
            "rows",
            f"at least {params.min_pairs:,} pairs",
            "set",
            "pairs",
            "there are {value}",
            min_value=params.min_pairs,
        ),
        between("pairs", "rows", "no pair is there twice", "set", "repeated", "{value} are", max_value=0),
        between(
            "pairs",
            "kind",
            f"at most {share:.0%} of the pairs are of one kind",
            "set",
            "kind_share",
            "{value:.1%} are",
            max_value=share,
        ),
    ]
