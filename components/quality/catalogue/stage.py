"""Stage ``catalog_quality``: let through the rows that keep the contract; quarantine the others, or stop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from components.catalog.format.parquet import row_groups
from components.catalog.format.records import QRELS, QUERIES, SPLITS
from components.catalog.format.schema import CatalogSchema, read_schema
from components.catalog.format.shards import Catalogue
from components.quality.catalogue.checked import write_checked
from components.quality.catalogue.products import ATTRIBUTE, ShardCheck, product_frames
from components.quality.catalogue.same_pictures import with_twins
from components.quality.catalogue.texts import schema_within
from components.quality.expectations import Check, Outcome, joined, of_kind, open_context, validate
from components.quality.params import QualityBlock, QualityParams
from components.quality.reports import measure, publish_reports, refuse
from components.quality.suite import load_suite
from components.quality.verdict import BadRow, Verdict, write_quarantine
from components.stage.files.publish import published
from components.stage.paths import Paths
from components.stage.record import Record

if TYPE_CHECKING:
    import pandas as pd

IMPORTER = "the source row can be read"
REJECTED_KINDS = {"product": "products", "query": "queries", "qrel": "qrels"}
FOLLOWS = "its product and its query pass"
KEPT = ("row", "product_id", "split", "group_id", "picture")  # of each product, until the set is judged
SEVERITY = {"quarantine": "warning", "report": "info"}


def run(params: QualityBlock, paths: Paths, record: Record) -> None:
    """Write the checked catalogue, the quarantine, and the gate's page and summary.

    Raises:
        GateError: too much is bad, what is left breaks the contract, or it cannot be checked.
    """
    examples = params.quality.page_examples
    quarantine = paths.quarantine / "quarantine.parquet"
    with record.timed("check"):
        verdict = check_catalogue(paths.imported, params.quality)
    measure(record, verdict)
    if not verdict.passed:
        refuse(verdict, record.stage, examples)
    with record.timed("write"):
        with published(paths.catalogue) as folder:
            write_checked(paths.imported, folder, verdict, params.quality)
        with published(quarantine) as file:
            write_quarantine(file, verdict.bad)
        reports = publish_reports(verdict, paths.quality / "catalog", examples)
    record.outputs = [paths.catalogue.as_posix(), quarantine.as_posix(), *reports]


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
        self.queries = _queries(catalogue)
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
        self.rejects = list(_rejects(catalogue / "rejects.parquet"))
        # a product that could not be read was set aside: its judgements follow it, and do not count
        unread = {bad.product_id for bad in self.rejects if bad.kind == "products" and bad.product_id}
        known = unread | set(self.products["product_id"])
        qrels = _frame(catalogue / "qrels.parquet", QRELS.names)
        self.qrels = qrels.assign(
            query_exists=qrels["query_id"].isin(self.queries["query_id"]),
            product_exists=qrels["product_id"].isin(list(known)),
        )

    def _check_products(self) -> pd.DataFrame:
        """Check products shard by shard; what is left in memory is what the whole is judged by."""
        import pandas as pd

        checks = self.suite["products"]
        of_rows, of_all = [c for c in checks if c.by_row], [c for c in checks if not c.by_row]
        of_set = [*of_all, *self.suite["kept_products"]]
        named = {name for check in (*checks, *of_set) for name in check.columns}
        attributes = tuple(sorted(n.removeprefix(ATTRIBUTE) for n in named if n.startswith(ATTRIBUTE)))
        look = ShardCheck(self.schema, self.params, Catalogue(self.catalogue).product_columns, attributes)
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
        self.verdict.bad += self.rejects
        frames = {"products": self.products, "queries": self.queries, "qrels": self.qrels}
        self.verdict.rows = {k: len(frame) + len(self.verdict.bad_rows(k)) for k, frame in frames.items()}
        self.verdict.outcomes += [self._read(kind) for kind in frames if self.verdict.bad_rows(kind)]
        self._rows("products", self.products, self.outcomes)
        self._rows("queries", self.queries, validate(self.queries, self.suite["queries"]))
        self._rows("qrels", self.qrels, validate(self.qrels, self.suite["qrels"]))
        self._drop_orphans()
        self._unanswered_queries()
        self._drop_orphans()
        self._judge_the_rest()

    def _read(self, kind: str) -> Outcome:
        """What came of reading the source, as a check among the others."""
        reasons: dict[int, str] = {}
        for bad in self.rejects:
            if bad.kind == kind:
                reasons.setdefault(bad.row, bad.reason)  # a row's first fault
        check = Check(kind, "row", IMPORTER, "warning", "import", {}, "")
        return Outcome(check, False, self.verdict.rows[kind], tuple(reasons), reasons=reasons)

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
        columns = (orphans.index, orphans["query_id"], orphans["product_id"])
        for row, query_id, product_id in zip(*columns, strict=True):
            missing, name = ("query_id", query_id) if query_id not in queries else ("product_id", product_id)
            reason = f"{missing.removesuffix('_id')} '{name}' was set aside"
            ids = (_name(product_id), _name(query_id))
            self.verdict.bad.append(BadRow("qrels", *ids, int(row), missing, reason, FOLLOWS, counted=False))

    def _unanswered_queries(self) -> None:
        """Set aside test queries that no product is an answer to, judged at least ``min_relevance``."""
        left, qrels = self._left("queries", self.queries), self._left("qrels", self.qrels)
        good = qrels.loc[qrels["relevance"] >= self.params.min_relevance, "query_id"].value_counts()
        answers = left["query_id"].map(good).fillna(0).astype(int)
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
        group_splits = products.groupby("group_id")["split"].transform("nunique")
        seen = with_twins(products).assign(group_splits=group_splits)
        self.verdict.check("products", seen, self.suite["kept_products"])
        self.verdict.check("queries", queries, self.suite["answered_queries"])


def _bad_rows(kind: str, frame: pd.DataFrame, outcome: Outcome) -> Iterable[BadRow]:
    """The rows to set aside because of one outcome."""
    if outcome.check.severity != "warning" or outcome.success or not outcome.names_rows:
        return
    for row, reason in outcome.reasons.items():
        values = frame.loc[row]
        ids = (_name(values.get("product_id")), _name(values.get("query_id")))
        yield BadRow(kind, *ids, row, outcome.check.field, reason, outcome.check.says)


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


def _frame(file: Path, columns: list[str]) -> pd.DataFrame:
    """The rows of a file, with their numbers in ``row``."""
    import pandas as pd

    groups = [group.to_pandas() for group in row_groups(file, columns)]
    frame = pd.concat(groups, ignore_index=True) if groups else pd.DataFrame(columns=columns)
    return frame.assign(row=range(len(frame)))


def _queries(catalogue: Path) -> pd.DataFrame:
    """One row per query, its text without white space around it; an empty id or split is null."""
    frame = _frame(catalogue / "queries.parquet", QUERIES.names)
    for name in ("query_id", "split"):
        frame[name] = frame[name].where(frame[name] != "", None)
    return frame.assign(text=frame["text"].fillna("").astype(str).str.strip())
