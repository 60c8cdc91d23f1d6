"""What the checks need to know of queries and qrels."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from components.catalog.format.parquet import row_groups
from components.catalog.format.records import QRELS, QUERIES

if TYPE_CHECKING:
    import pandas as pd


def _frame(file: Path, columns: list[str]) -> pd.DataFrame:
    import pandas as pd

    groups = [group.to_pandas() for group in row_groups(file, columns)]
    return pd.concat(groups, ignore_index=True) if groups else pd.DataFrame(columns=columns)


def query_columns(catalogue: Path) -> pd.DataFrame:
    """One row per query: query_id, split (null if empty) and text_chars.

    Raises:
        CatalogueError: ``queries.parquet`` is missing, damaged or lacks a column.
    """
    frame = _frame(catalogue / "queries.parquet", QUERIES.names)
    for name in ("query_id", "split"):
        frame[name] = frame[name].where(frame[name] != "", None)
    frame["text_chars"] = frame["text"].fillna("").str.strip().str.len()
    return frame[["query_id", "split", "text_chars"]]


def qrel_columns(catalogue: Path, queries: Collection[str], products: Collection[str]) -> pd.DataFrame:
    """One row per judgement, with a problem for each id that is not among ``queries`` or ``products``.

    Raises:
        CatalogueError: ``qrels.parquet`` is missing, damaged or lacks a column.
    """
    frame = _frame(catalogue / "qrels.parquet", QRELS.names)
    for name, known in (("query_id", queries), ("product_id", products)):
        unknown = frame.loc[~frame[name].isin(list(known)), name].fillna("").astype(str)
        thing = name.removesuffix("_id")
        frame[f"{thing}_problem"] = ""
        frame.loc[unknown.index, f"{thing}_problem"] = (
            f"{name} '" + unknown + f"' is no {thing} of the catalogue"
        )
    return frame


def relevant_products(qrels: pd.DataFrame, queries: pd.DataFrame, min_relevance: int) -> pd.Series:
    """For each query the number of products judged at least ``min_relevance``, aligned with ``queries``."""
    good = qrels.loc[qrels["relevance"] >= min_relevance, "query_id"].value_counts()
    return queries["query_id"].map(good).fillna(0).astype(int)
