"""Groups join through any chain: against a plain search through the graph of who shares what with whom."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from components.catalog.format.union_find import root
from components.encoder.model.train.training_set import group_numbers


def reachable(count: int, edges: list[tuple[int, int]]) -> list[frozenset[int]]:
    """For each member everybody it is connected with, found by walking."""
    near: dict[int, set[int]] = {i: {i} for i in range(count)}
    for a, b in edges:
        near[a].add(b)
        near[b].add(a)
    found = []
    for start in range(count):
        seen, waiting = {start}, [start]
        while waiting:
            fresh = near[waiting.pop()] - seen
            seen |= fresh
            waiting += fresh
        found.append(frozenset(seen))
    return found


MEMBERS = st.integers(0, 11)


@given(st.lists(st.tuples(MEMBERS, MEMBERS), max_size=20))
def test_members_have_one_root_exactly_if_a_chain_connects_them(edges: list[tuple[int, int]]) -> None:
    parent = list(range(12))
    for a, b in edges:
        parent[root(parent, a)] = root(parent, b)
    same = [frozenset(j for j in range(12) if root(parent, j) == root(parent, i)) for i in range(12)]
    assert same == reachable(12, edges)


TITLES = st.sampled_from(["Red mug", "red mug ", "Blue mug", "Vase", "", "  "])


@given(st.lists(st.tuples(st.sampled_from("abcde"), TITLES), max_size=12))
def test_products_of_one_group_or_one_title_are_one_number(products: list[tuple[str, str]]) -> None:
    rows = [{"group_id": group, "title": title} for group, title in products]
    titles = [title.strip().casefold() for _, title in products]
    edges = [
        (i, j)
        for i in range(len(rows))
        for j in range(i)
        if rows[i]["group_id"] == rows[j]["group_id"] or (titles[i] and titles[i] == titles[j])
    ]
    numbers = group_numbers(rows)
    together = [frozenset(np.flatnonzero(numbers == number).tolist()) for number in numbers]
    assert together == reachable(len(rows), edges)
