"""The gate of refined listings: in the schema, nothing added, every change explained.

Refined listings are remade, not repaired: there is no quarantine, each check fails the gate.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.catalog.format.schema import read_schema
from components.quality.errors import GateError
from components.quality.expectations import Check, between, no_problem, validate
from components.quality.listings.params import ListingQualityParams
from components.quality.listings.refined_columns import (
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
from components.quality.verdict import Verdict

if TYPE_CHECKING:
    import pandas as pd


def check_refined(folder: Path, catalogue: Path, params: ListingQualityParams) -> Verdict:
    """Check the files of ``folder`` against each other and against the checked ``catalogue``.

    Nothing is raised: what keeps a check from being done is in the verdict, which then has not passed.
    """
    verdict = Verdict("Refined listings", max_bad_fraction=0.0)
    with verdict.failing_closed():
        _judge(folder, catalogue, params, verdict)
    return verdict


def _judge(folder: Path, catalogue: Path, params: ListingQualityParams, verdict: Verdict) -> None:
    schema, sold = read_schema(catalogue / "schema.json"), sellers(catalogue)
    listings = read(folder / "products.parquet", LISTING_COLUMNS)
    decisions = read(folder / "decisions.parquet", DECISION_COLUMNS)
    instructions = read(folder / "instructions.parquet", INSTRUCTION_COLUMNS)
    if not listings:
        raise GateError(f"{folder}/products.parquet holds no listings; refine the catalogue again.")
    refined = {row["product_id"]: row for row in listings}
    counted = {"listings": listings, "decisions": decisions, "instructions": instructions}
    verdict.rows = {kind: len(rows) for kind, rows in counted.items()}
    verdict.facts = {"Decisions": _verbs(decisions), "Instructions": _grains(instructions)}
    for name in ("products", "decisions", "instructions"):
        verdict.note_input(folder / f"{name}.parquet")
    frame = listing_frame(listings, decisions, sold, schema)
    verdict.outcomes += validate(frame, _listing_checks(params))
    verdict.outcomes += validate(decision_frame(decisions), _decision_checks())
    told = instruction_frame(instructions, refined, schema)
    verdict.outcomes += validate(told, _instruction_checks(params))
    verdict.outcomes += validate(_facts(listings, decisions, instructions, sold), _set_checks(params))


def _verbs(decisions: Rows) -> dict[str, int]:
    out = {f"{field}: {verb}": 0 for field in ("attributes", "title") for verb in VERBS}
    for row in decisions:
        key = f"{row['field']}: {row['decision']}"
        out[key] = out.get(key, 0) + 1
    return out


def _grains(instructions: Rows) -> dict[str, int]:
    grains = [str(row["grain"]) for row in instructions]
    return {grain: grains.count(grain) for grain in sorted(set(grains))}


def _share(kept: int, dropped: int) -> float:
    return kept / (kept + dropped) if kept + dropped else 1.0


def _facts(
    listings: Rows, decisions: Rows, instructions: Rows, sold: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """One row of counts about the whole."""
    import pandas as pd

    ids = [row["product_id"] for row in listings]
    have = set(ids)
    verbs = _verbs(decisions)
    kept = {
        field: _share(verbs[f"{field}: keep"] + verbs[f"{field}: normalise"], verbs[f"{field}: drop"])
        for field in ("attributes", "title")
    }
    facts = {
        "missing": len(set(sold) - have),
        "strange": len(have - set(sold)),
        "repeated": len(ids) - len(have),
        "disordered": int([name for name in sold if name in have] != [n for n in ids if n in sold]),
        "orphans": sum(row["product_id"] not in sold for row in decisions),
        "kept_values": kept["attributes"],
        "kept_words": kept["title"],
        "train_instructions": sum(row["split"] == "train" for row in instructions),
    }
    return pd.DataFrame([facts])


def _listing_checks(params: ListingQualityParams) -> list[Check]:
    most = params.max_title_chars
    problems = [
        ("product", "split, category and type are the catalogue's", "identity_problem"),
        ("attributes", "attributes and their values fit the schema", "schema_problem"),
        ("attributes", "an attribute is given once", "repeated_problem"),
        ("visible", "visible attributes are attributes of the listing", "visible_problem"),
        ("all", "nothing is said that the seller did not say", "added_problem"),
        ("all", "the decisions lead from the seller's listing to this one", "story_problem"),
    ]
    return [
        *(no_problem("listings", name, says, column, "set") for name, says, column in problems),
        between(
            "listings",
            "title",
            f"title has at most {most:,} characters",
            "set",
            "title_chars",
            "it has {value}",
            max_value=most,
        ),
    ]


def _decision_checks() -> list[Check]:
    says = "a decision is keep, normalise or drop, with a judge, a reason and a fitting new value"
    return [no_problem("decisions", "decision", says, "problem", "set")]


def _instruction_checks(params: ListingQualityParams) -> list[Check]:
    most = params.max_answer_chars
    return [
        no_problem("instructions", "product_id", "its product is refined", "product_problem", "set"),
        no_problem("instructions", "answer", "a whole listing is the refined one", "answer_problem", "set"),
        between(
            "instructions", "prompt", "a question is asked", "set", "prompt_chars", "it is blank", min_value=1
        ),
        between(
            "instructions",
            "answer",
            f"an answer has 1 to {most:,} characters",
            "set",
            "answer_chars",
            "it has {value}",
            min_value=1,
            max_value=most,
        ),
    ]


def _set_checks(params: ListingQualityParams) -> list[Check]:
    nothing = [
        ("missing", "every checked product is refined", "{value} are missing"),
        ("strange", "every refined product is a checked one", "{value} are not"),
        ("repeated", "a product is refined once", "{value} are repeated"),
        ("disordered", "products are in catalogue order", "they are not"),
        ("orphans", "every decision is about a checked product", "{value} are not"),
    ]
    least = [
        ("kept_values", "of sellers' values at least {least:.0%} are left", params.min_kept_values),
        (
            "kept_words",
            "of the words of sellers' titles at least {least:.0%} are left",
            params.min_kept_words,
        ),
    ]
    return [
        *(between("listings", "rows", says, "set", c, why, max_value=0) for c, says, why in nothing),
        *(
            between("decisions", "rows", s.format(least=n), "set", c, "{value:.1%} are left", min_value=n)
            for c, s, n in least
        ),
        between(
            "instructions",
            "rows",
            f"at least {params.min_instructions:,} instructions for the train split",
            "set",
            "train_instructions",
            "there are {value}",
            min_value=params.min_instructions,
        ),
    ]
