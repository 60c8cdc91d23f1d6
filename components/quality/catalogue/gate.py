"""The gate of a catalogue: finds bad rows, follows what hangs on them, judges the set that is left."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from components.catalog.format.parquet import row_groups
from components.catalog.format.records import SPLITS
from components.catalog.format.schema import CatalogSchema, read_schema
from components.quality.catalogue.checks import (
    answered_check,
    leak_checks,
    product_checks,
    qrel_checks,
    query_checks,
    set_checks,
)
from components.quality.catalogue.judgement_columns import qrel_columns, query_columns, relevant_products
from components.quality.catalogue.product_columns import product_columns
from components.quality.expectations import Check, Outcome, open_context, validate
from components.quality.params import QualityParams
from components.quality.verdict import BadRow, Verdict

if TYPE_CHECKING:
    import pandas as pd

IMPORTER = "the source row can be read"
REJECTED_KINDS = {"product": "products", "query": "queries", "qrel": "qrels"}
FOLLOWS = "its product and its query pass"


def check_catalogue(catalogue: Path, params: QualityParams) -> Verdict:
    """Check a catalogue folder; nothing is written and nothing raised.

    Whatever keeps a check from being done is in the verdict, which then has not passed: a gate that cannot
    look lets nothing through.
    """
    verdict = Verdict("Catalogue", params.max_bad_fraction)
    with verdict.failing_closed():
        _CatalogueGate(catalogue, params, verdict).judge()
    return verdict


class _CatalogueGate:
    """The frames of one catalogue and the verdict that grows over them."""

    def __init__(self, catalogue: Path, params: QualityParams, verdict: Verdict) -> None:
        self.catalogue, self.params, self.verdict = catalogue, params, verdict
        self.schema: CatalogSchema = read_schema(catalogue / "schema.json")
        self.products = product_columns(catalogue, self.schema, params, meanwhile=open_context)
        self.queries = query_columns(catalogue)
        self.qrels = qrel_columns(catalogue, set(self.queries["query_id"]), set(self.products["product_id"]))

    def judge(self) -> None:
        """Check rows, then what hangs together; a row set aside takes those along that need it."""
        self.verdict.bad += _rejects(self.catalogue / "rejects.parquet")
        frames = {"products": self.products, "queries": self.queries, "qrels": self.qrels}
        self.verdict.rows = {
            kind: len(frame) + len(self.verdict.bad_rows(kind)) for kind, frame in frames.items()
        }
        self._rows("products", self.products, product_checks(self.schema, self.params))
        self._rows("queries", self.queries, query_checks(self.params))
        self._rows("qrels", self.qrels, qrel_checks())
        self._drop_orphans()
        self._unanswered_queries()
        self._drop_orphans()
        self._judge_the_rest()

    def _left(self, kind: str, frame: pd.DataFrame) -> pd.DataFrame:
        return frame.drop(index=[row for row in self.verdict.bad_rows(kind) if row >= 0])

    def _rows(self, kind: str, frame: pd.DataFrame, checks: Sequence[Check]) -> None:
        outcomes = validate(frame, checks)
        self.verdict.outcomes += outcomes
        self.verdict.bad += [bad for outcome in outcomes for bad in _bad_rows(kind, frame, outcome)]

    def _drop_orphans(self) -> None:
        """Set aside the judgements of products and queries that were set aside: they point nowhere now."""
        left = self._left("qrels", self.qrels)
        products = set(self._left("products", self.products)["product_id"])
        queries = set(self._left("queries", self.queries)["query_id"])
        orphans = left[~(left["product_id"].isin(list(products)) & left["query_id"].isin(list(queries)))]
        for row, query_id, product_id in zip(
            orphans.index, orphans["query_id"], orphans["product_id"], strict=True
        ):
            missing, name = ("query_id", query_id) if query_id not in queries else ("product_id", product_id)
            reason = f"{missing.removesuffix('_id')} '{name}' was set aside"
            self.verdict.bad.append(
                BadRow(
                    "qrels",
                    _name(product_id),
                    _name(query_id),
                    int(row),
                    missing,
                    reason,
                    FOLLOWS,
                    counted=False,
                )
            )

    def _unanswered_queries(self) -> None:
        left = self._left("queries", self.queries)
        answers = relevant_products(self._left("qrels", self.qrels), left, self.params.min_relevance)
        frame = left.assign(answers=answers.where(left["split"] == "test", 1), row=left.index)
        self._rows("queries", frame.reset_index(drop=True), [answered_check(self.params)])

    def _judge_the_rest(self) -> None:
        products = self._left("products", self.products)
        queries = self._left("queries", self.queries)
        counts = {f"products_{split}": int((products["split"] == split).sum()) for split in SPLITS}
        counts |= {"products": len(products), "test_queries": int((queries["split"] == "test").sum())}
        self.verdict.facts["Left after quarantine"] = {
            "products": len(products),
            **{f"products, {split}": counts[f"products_{split}"] for split in SPLITS},
            "queries": len(queries),
            "qrels": len(self._left("qrels", self.qrels)),
        }
        self.verdict.outcomes += validate(_one_row(counts), set_checks(self.params))
        self.verdict.outcomes += validate(_with_splits(products), leak_checks(self.params))


def _one_row(counts: dict[str, int]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame([counts])


def _with_splits(products: pd.DataFrame) -> pd.DataFrame:
    """Number of splits that each product's group and picture occur in."""
    frame = products[["product_id", "split", "group_id", "picture"]].reset_index(drop=True)
    for name in ("group", "picture"):
        column = "group_id" if name == "group" else name
        frame[f"{name}_splits"] = frame.groupby(column)["split"].transform("nunique")
    return frame


def _bad_rows(kind: str, frame: pd.DataFrame, outcome: Outcome) -> Iterable[BadRow]:
    """The rows to set aside because of one outcome."""
    if outcome.check.level != "row":
        return
    for i, reason in outcome.reasons.items():
        values = frame.iloc[i]
        row = int(values["row"]) if "row" in frame.columns else i
        ids = [_name(values.get(name)) for name in ("product_id", "query_id")]
        yield BadRow(kind, ids[0], ids[1], row, outcome.check.field, reason, outcome.check.says)


def _name(value: object) -> str:
    """An id as text; empty where there is none (pandas gives None or NaN)."""
    return value if isinstance(value, str) else ""


def _rejects(file: Path) -> Iterable[BadRow]:
    """Source rows that the importer could not read; a catalogue without such a file has none."""
    if not file.exists():
        return
    places: dict[tuple[str, str, int], int] = {}
    for table in row_groups(file, ["kind", "product_id", "file", "row", "field", "reason"]):
        for entry in table.to_pylist():
            kind, source, row = entry["kind"], entry["file"] or "", entry["row"] or 0
            place = places.setdefault((kind, source, row), -1 - len(places))
            reason = f"{source}, row {row}: {entry['reason']}"
            ids = (entry["product_id"] or "", "")
            yield BadRow(REJECTED_KINDS[kind], *ids, place, entry["field"] or "", reason, IMPORTER)
