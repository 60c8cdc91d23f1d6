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
    """One row per query, its text without white space around it; an empty id or split is null.

    Raises:
        CatalogueError: ``queries.parquet`` is missing, damaged or lacks a column.
    """
    frame = _frame(catalogue / "queries.parquet", QUERIES.names)
    for name in ("query_id", "split"):
        frame[name] = frame[name].where(frame[name] != "", None)
    frame["text"] = frame["text"].fillna("").astype(str).str.strip()
    return frame.assign(row=range(len(frame)))


def qrel_columns(catalogue: Path, queries: Collection[str], products: Collection[str]) -> pd.DataFrame:
    """One row per judgement, and whether its ids are among ``queries`` and ``products``.

    Raises:
        CatalogueError: ``qrels.parquet`` is missing, damaged or lacks a column.
    """
    frame = _frame(catalogue / "qrels.parquet", QRELS.names)
    frame["query_exists"] = frame["query_id"].isin(list(queries))
    frame["product_exists"] = frame["product_id"].isin(list(products))
    return frame.assign(row=range(len(frame)))


def relevant_products(qrels: pd.DataFrame, queries: pd.DataFrame, min_relevance: int) -> pd.Series:
    """For each query the number of products judged at least ``min_relevance``, aligned with ``queries``."""
    good = qrels.loc[qrels["relevance"] >= min_relevance, "query_id"].value_counts()
    return queries["query_id"].map(good).fillna(0).astype(int)
