"""Which stages run beside each other: the cores they share, and who is next."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from pydantic import BaseModel

from flows.graph import Graph, StageNode

WIDTHS = ("threads", "workers")  # what a block of params.yaml calls the cores its stage computes with


def machine_cores() -> tuple[int, ...]:
    """Cores this process may use; numbers mean something to the kernel only where it can bind to them."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


class Cores:
    """Cores to hand out, each to one stage at a time."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._free = sorted(numbers)
        self.total = len(self._free)

    def take(self, count: int) -> tuple[int, ...] | None:
        """``count`` free cores, or as many as there are in all; None while too few are free."""
        count = min(count, self.total)
        if count > len(self._free):
            return None
        taken, self._free = self._free[:count], self._free[count:]
        return tuple(taken)

    def give_back(self, numbers: Iterable[int]) -> None:
        """Free what :meth:`take` gave."""
        self._free = sorted([*self._free, *numbers])


def wanted(node: StageNode, parameters: Mapping[str, BaseModel]) -> int:
    """Cores a stage computes with: ``threads`` or ``workers`` of its own block, else the most of its blocks.

    A stage's own block is the one with its name. Where no block says anything it is one.
    """
    base = node.name.partition("@")[0]
    blocks = [base] if _width(parameters.get(base)) else list(node.blocks)
    return max([1, *(_width(parameters.get(block)) for block in blocks)])


def _width(block: BaseModel | None) -> int:
    """What a block says; 0 for nothing."""
    found = (getattr(block, name, None) for name in WIDTHS)
    return max([0, *(value for value in found if isinstance(value, int))])


def by_longest_way(graph: Graph, names: Iterable[str]) -> list[str]:
    """``names``, those first from which the longest way leads to an end of the graph, in expected seconds.

    A stage's way is its own time and the longest way of those that read from it: list scheduling by critical
    path (Graham 1969). Ties stay in topological order.
    """
    way: dict[str, float] = {}
    for name in reversed(graph.stages):  # children come before their parents
        node = graph.stages[name]
        way[name] = way.get(name, 0.0) + node.meta.expected_s
        for parent in node.parents:
            way[parent] = max(way.get(parent, 0.0), way[name])
    place = {name: at for at, name in enumerate(graph.stages)}
    return sorted(names, key=lambda name: (-way[name], place[name]))
