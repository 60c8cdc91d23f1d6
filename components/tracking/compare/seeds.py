"""Sides that are the same thing with other seeds, taken together as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from components.stage.record import Interval
from components.tracking.compare.per_query import Results, System, mean_over
from components.tracking.compare.sides import Key, Side
from components.tracking.publish.datasets import CHECKED


@dataclass(frozen=True)
class SeedGroup:
    """One column of a comparison: a side, or several that differ in nothing but their seeds."""

    name: str
    members: tuple[Side, ...]
    results: dict[System, Results]

    @property
    def first(self) -> Side:
        """The side that stands for the group where seeds make no difference."""
        return self.members[0]

    def figure(self, key: Key) -> Interval | None:
        """The figure; of several seeds their mean, with the mean of their bounds.

        The seeds answer the same queries, so their errors are not independent: the mean bounds are those of
        errors that agree wholly, the widest there can be.
        """
        found = [side.metrics[key] for side in self.members if key in side.metrics]
        if len(found) < len(self.members):
            return None
        if len(found) == 1:
            return found[0]
        bounds: dict[str, Any] = {}
        for name in ("low", "high"):
            values = [getattr(one, name) for one in found]
            bounds[name] = None if None in values else sum(values) / len(values)
        return Interval(value=sum(one.value for one in found) / len(found), n=found[0].n, **bounds)

    def spread(self, key: Key) -> tuple[float, float] | None:
        """Least and greatest of the seeds' values; None for a single side."""
        values = [side.metrics[key].value for side in self.members if key in side.metrics]
        return (min(values), max(values)) if len(self.members) > 1 and values else None


def grouped(sides: Sequence[Side], results: Sequence[dict[System, Results]], apart: bool) -> list[SeedGroup]:
    """Sides of the same parameters but for seeds, code and catalogue as one group, in order of the first.

    Where all sides would be one group there is nothing to compare them with, and the same seed twice is no
    second seed: then they stay apart; ``apart`` keeps them so too.
    """
    kinds: dict[object, list[int]] = {}
    for place, side in enumerate(sides):
        kinds.setdefault(place if apart else _without_seeds(side, place), []).append(place)
    alike = any(len(places) > len({_seeds(sides[i]) for i in places}) for places in kinds.values())
    if len(kinds) == 1 or alike:
        kinds = {place: [place] for place in range(len(sides))}
    return [_group([sides[i] for i in places], [results[i] for i in places]) for places in kinds.values()]


def is_seed(name: str) -> bool:
    """Whether a parameter is a seed."""
    return name.rpartition(".")[2] == "seed"


def _seeds(side: Side) -> frozenset[tuple[str, str]]:
    return frozenset((k, v) for k, v in side.parameters.items() if is_seed(k))


def _without_seeds(side: Side, place: int) -> object:
    """What two sides must share to be the same but for seeds; nothing shares a side without parameters."""
    if not any(is_seed(name) for name in side.parameters):
        return place
    fixed = frozenset((k, v) for k, v in side.parameters.items() if not is_seed(k))
    return fixed, frozenset(side.code.items()), side.commit, side.data.get(CHECKED, "")


def _group(sides: list[Side], results: list[dict[System, Results]]) -> SeedGroup:
    if len(sides) == 1:
        return SeedGroup(sides[0].name, (sides[0],), results[0])
    systems = set.intersection(*(set(one) for one in results))
    name = f"{sides[0].name} (mean of {len(sides)} seeds)"
    return SeedGroup(name, tuple(sides), {s: mean_over([one[s] for one in results]) for s in systems})
