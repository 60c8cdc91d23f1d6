"""Parameters of the product index."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from components.stage.params import Params, Share


class IndexParams(Params):
    """Block ``index`` of params.yaml."""

    # flat: exact, reads every vector; hnsw: approximate graph search, for catalogues of some 100,000 and more
    kind: Literal["flat", "hnsw"] = "flat"
    # neighbours of a graph node per level (twice as many on the lowest)
    hnsw_m: int = Field(32, ge=2, le=256)
    ef_construction: PositiveInt = 200  # candidates kept while the graph is built: more is slower and better
    ef_search: PositiveInt = 128  # candidates kept while searching
    # With a filter that leaves less than this share of the products, hnsw compares those exactly: it is
    # faster there, and the graph search misses products where few are allowed.
    exact_filter_below: Share = 0.2
    threads: PositiveInt = 1  # threads of one search; building is single-threaded so that its bytes repeat
