"""How much each expert of a mixture counts for the products that it ranks first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy.typing as npt
import pyarrow as pa

from components.fusion.evaluate.held_out import HeldOut
from components.fusion.evaluate.table import Scorer
from components.fusion.model.fuse.item_vectors import gate_weights
from components.fusion.model.networks.layers import FusionNetwork
from components.fusion.model.networks.moe import EXPERTS
from components.retrieval.ranking import top_k

GATES = pa.schema(
    [
        *((name, pa.string()) for name in ("variant", "query_id", "kind", "product_id", "category")),
        ("rank", pa.int16()),
        *((name, pa.float32()) for name in EXPERTS),
    ]
)


def gate_table(
    networks: Mapping[str, FusionNetwork], scorers: Mapping[str, Scorer], held_out: HeldOut, top: int
) -> pa.Table:
    """Gate weights of the ``top`` products of each query, for every network that has experts."""
    rows: list[dict[str, Any]] = []
    for name, network in networks.items():
        gates = gate_weights(network, held_out.items)
        if gates is not None:
            scores = scorers[name](held_out.items)
            ranking = top_k(scores, min(top, scores.shape[1]))
            rows += ({"variant": name, **row} for row in _rows(ranking, gates, held_out))
    return pa.Table.from_pylist(rows, schema=GATES)


def _rows(ranking: npt.NDArray[Any], gates: npt.NDArray[Any], held_out: HeldOut) -> Iterator[dict[str, Any]]:
    task, products = held_out.question.task, held_out.items.rows
    for query_id, kind, ranked in zip(task.query_ids, task.kinds, ranking, strict=True):
        for rank, p in enumerate(ranked, start=1):
            row = {"query_id": query_id, "kind": kind, "rank": rank}
            row |= {name: products[p][name] for name in ("product_id", "category")}
            yield row | dict(zip(EXPERTS, map(float, gates[p]), strict=True))
