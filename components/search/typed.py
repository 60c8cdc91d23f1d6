"""The type that a query asks for, as an answer needs it: every product's chance, and the likeliest type."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from components.encoder.model.features.query_types import Floats, QueryTypes
from components.fusion.model.fuse.item_vectors import Asked
from components.fusion.model.towers.towers import Items
from components.search.products import catalogue_rows

SURE = 0.5  # a type below it is less likely than that it is another, or none


class Likeliest(NamedTuple):
    """The likeliest type of a query, and its probability among the catalogue's types."""

    name: str
    probability: float


def ask_types(
    asked: Asked, types: QueryTypes, said: Floats, items: Items, catalogue: Path
) -> tuple[Asked, Likeliest]:
    """A query with the log-probability of every product's type, and the likeliest type.

    Args:
        said: the query's log-probabilities of ``types``, ``[1, types]``.
        items: all products of the catalogue, in its order.
    """
    rows = [{"product_type": row["product_type"]} for row in catalogue_rows(catalogue)]
    best = int(said[0].argmax())
    likeliest = Likeliest(types.names[best], float(np.exp(said[0, best])))
    return asked.typed(types, said, replace(items, rows=rows)), likeliest


def fits(likeliest: Likeliest | None) -> bool:
    """Whether a type of the catalogue clearly fits a query; not where nobody has asked."""
    return likeliest is not None and likeliest.probability >= SURE


def no_type(likeliest: Likeliest | None) -> str:
    """A remark where no type of the catalogue fits a query; empty else."""
    if likeliest is None or fits(likeliest):
        return ""
    return (
        "No product type clearly fits this query: the likeliest of the catalogue's types, "
        f"{likeliest.name}, has {likeliest.probability:.0%}."
    )
