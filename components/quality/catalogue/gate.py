"""The gate of a catalogue: finds bad rows, follows what hangs on them, judges the set that is left."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from components.catalog.format.parquet import row_groups
from components.catalog.format.records import SPLITS
from components.catalog.format.schema import CatalogSchema, read_schema
from components.catalog.format.shards import Catalogue
from components.quality.catalogue.judgements import qrel_columns, query_columns, relevant_products
from components.quality.catalogue.products import ATTRIBUTE, Look, product_frames
from components.quality.catalogue.same_pictures import with_twins
from components.quality.catalogue.texts import schema_within
from components.quality.expectations import Outcome, joined, of_kind, open_context, validate
from components.quality.params import QualityParams
from components.quality.suite import load_suite
from components.quality.verdict import BadRow, Verdict

if TYPE_CHECKING:
    import pandas as pd

IMPORTER = "the source row can be read"
REJECTED_KINDS = {"product": "products", "query": "queries", "qrel": "qrels"}
FOLLOWS = "its product and its query pass"
KEPT = ("row", "product_id", "split", "group_id", "picture")  # of each product, until the set is judged
SEVERITY = {"quarantine": "warning", "report": "info"}


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
        self.queries = query_columns(catalogue)
        values = {
            **params.model_dump(),
            "attribute_values": SEVERITY[params.attribute_values],
            "required_attributes": SEVERITY[params.required_attributes],
            # A catalogue may come without queries; one whose test queries are all bad is broken.
            "test_queries": "critical" if (self.queries["split"] == "test").any() else "info",
            "categories": sorted(self.schema.categories),
            "min_pictures_apart": 1 - params.max_cross_split_pictures,
        }
        self.suite = load_suite("catalogue", params.expectations, values)
        self.outcomes: list[Outcome] = []
        self.products = self._check_products()
        self.qrels = qrel_columns(catalogue, set(self.queries["query_id"]), set(self.products["product_id"]))

    def _check_products(self) -> pd.DataFrame:
        """Check products shard by shard; what is left in memory is what the whole is judged by."""
        import pandas as pd

        checks = self.suite["products"]
        of_rows, of_all = [c for c in checks if c.by_row], [c for c in checks if not c.by_row]
        of_set = [*of_all, *self.suite["kept_products"]]
        named = {name for check in (*checks, *of_set) for name in check.columns}
        attributes = tuple(sorted(n.removeprefix(ATTRIBUTE) for n in named if n.startswith(ATTRIBUTE)))
        look = Look(self.schema, self.params, Catalogue(self.catalogue).product_columns, attributes)
        kept = {*KEPT, *(name for check in of_set for name in check.columns)}
        parts, frames = [], []
        for frame in product_frames(self.catalogue, look, self.params.workers, open_context):
            parts.append(validate(frame, of_rows))
            frames.append(frame[[name for name in frame.columns if name in kept]])
        products = pd.concat(frames, ignore_index=True)
        self.outcomes = [*joined(parts), *validate(products, of_all)]
        return products

    def judge(self) -> None:
        """Check rows, then what hangs together; a row set aside takes those along that need it."""
        self.verdict.bad += _rejects(self.catalogue / "rejects.parquet")
        frames = {"products": self.products, "queries": self.queries, "qrels": self.qrels}
        self.verdict.rows = {
            kind: len(frame) + len(self.verdict.bad_rows(kind)) for kind, frame in frames.items()
        }
        self._rows("products", self.products, self.outcomes)
        self._rows("queries", self.queries, validate(self.queries, self.suite["queries"]))
        self._rows("qrels", self.qrels, validate(self.qrels, self.suite["qrels"]))
        self._drop_orphans()
        self._unanswered_queries()
        self._drop_orphans()
        self._judge_the_rest()

    def _left(self, kind: str, frame: pd.DataFrame) -> pd.DataFrame:
        return frame.drop(index=[row for row in self.verdict.bad_rows(kind) if row >= 0])

    def _rows(self, kind: str, frame: pd.DataFrame, outcomes: Sequence[Outcome]) -> None:
        outcomes = [of_kind(outcome, kind) for outcome in outcomes]
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
        outcomes = validate(left.assign(answers=answers), self.suite["kept_queries"])
        self._rows("queries", self.queries, outcomes)

    def _judge_the_rest(self) -> None:
        products = self._left("products", self.products)
        queries = self._left("queries", self.queries)
        self.verdict.facts["Left after quarantine"] = {
            "products": len(products),
            **{f"products, {split}": int((products["split"] == split).sum()) for split in SPLITS},
            "queries": len(queries),
            "qrels": len(self._left("qrels", self.qrels)),
        }
        if left_out := schema_within(self.schema, self.params)[1]:
            self.verdict.facts["Left out of the schema"] = left_out
        self.verdict.check("products", _with_splits(products), self.suite["kept_products"])
        self.verdict.check("queries", queries, self.suite["answered_queries"])


def _with_splits(products: pd.DataFrame) -> pd.DataFrame:
    """Number of splits that each product's group and picture occur in, and who else shows the picture."""
    return with_twins(products).assign(
        group_splits=products.groupby("group_id")["split"].transform("nunique")
    )


def _bad_rows(kind: str, frame: pd.DataFrame, outcome: Outcome) -> Iterable[BadRow]:
    """The rows to set aside because of one outcome."""
    if outcome.check.severity != "warning" or outcome.success or not outcome.names_rows:
        return
    for row, reason in outcome.reasons.items():
        values = frame.loc[row]
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
