"""The cores as a limit to what runs at the same time, and the critical path as the order."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from flows.run.graph import Graph


def machine_cores() -> tuple[int, ...]:
    """Cores this process may use; numbers mean something to the kernel only where it can bind to them."""
    known = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return tuple(sorted(known))


class Cores:
    """Cores to lend, each to one stage at a time; of the stages that could start, the first in order goes.

    Stages wait here inside their tasks. One that lacks cores is not overtaken, or it might wait forever.
    """

    def __init__(
        self, numbers: Iterable[int], order: Sequence[str], parents: Mapping[str, Iterable[str]], at_once: int
    ) -> None:
        self._free = sorted(numbers)
        self._all, self._at_once = len(self._free), at_once
        self._order, self._parents = tuple(order), parents
        self._waiting, self._unfinished = set(order), set(order)
        self._closed = False
        self._change = threading.Condition()

    @contextmanager
    def lent(self, name: str, count: int) -> Iterator[tuple[int, ...] | None]:
        """Wait for ``count`` cores, or as many as there are; None once no stage shall begin any more."""
        count = min(count, self._all)
        with self._change:
            self._waiting.add(name)  # also one that is tried again
            self._change.wait_for(lambda: self._closed or self._is_next(name, count))
            self._waiting.discard(name)
            taken = None if self._closed else self._free[:count]
            if taken is not None:
                self._free = self._free[count:]
                self._at_once -= 1
                self._change.notify_all()  # the next in order may fit beside it
        if taken is None:
            yield None
            return
        try:
            yield tuple(taken)
        finally:
            with self._change:
                self._free = sorted([*self._free, *taken])
                self._at_once += 1
                self._change.notify_all()

    def _is_next(self, name: str, count: int) -> bool:
        waiting = (n for n in self._order if n in self._waiting)
        first = next((n for n in waiting if self._unfinished.isdisjoint(self._parents[n])), None)
        return first == name and count <= len(self._free) and self._at_once > 0

    def finished(self, name: str) -> None:
        """What reads from this stage may start."""
        with self._change:
            self._unfinished.discard(name)
            self._change.notify_all()

    def close(self) -> None:
        """Let no stage begin any more."""
        with self._change:
            self._closed = True
            self._change.notify_all()


def by_critical_path(graph: Graph, names: Iterable[str]) -> list[str]:
    """``names``, those first whose critical path to an end of the graph is the longest, in expected seconds.

    A stage's path is its own time and the longest path of those that read from it: list scheduling by
    critical path (Graham 1969). Ties stay in topological order.
    """
    path: dict[str, float] = {}
    for name in reversed(graph.stages):  # children come before their parents
        node = graph.stages[name]
        path[name] = path.get(name, 0.0) + node.meta.expected_s
        for parent in node.parents:
            path[parent] = max(path.get(parent, 0.0), path[name])
    asked = set(names)
    return sorted((name for name in graph.stages if name in asked), key=lambda name: -path[name])
