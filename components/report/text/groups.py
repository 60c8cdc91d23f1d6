"""The systems of a report, each with a page of its own: what it is, and what its page shows."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import TypeAdapter

from components.report.figures.figures import system_label
from components.stage.params import Params, read_yaml


class SystemGroup(Params):
    """A system by its usual name, with a page of its own."""

    key: str  # the name of its page
    name: str
    does: str = ""  # what goes in and what comes out
    method: str = ""  # in two sentences
    systems: tuple[str, ...]  # the files that measure it
    # system.metric, the ones to read first; three of those that a run has are shown
    figures: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()  # system.metric whose parts tell where it fails
    curves: tuple[str, ...] = ()  # how the names of its training stages begin
    gates: tuple[str, ...] = ()  # what was validated on the way to it


_GROUPS = read_yaml(Path(__file__).with_name("groups.yaml"))["groups"]
GROUPS = TypeAdapter(tuple[SystemGroup, ...]).validate_python(_GROUPS)


def groups_of(systems: Iterable[str]) -> list[SystemGroup]:
    """The pages of ``systems``, in their usual order; a system that belongs to none has its own."""
    wanted = list(systems)
    found = [group for group in GROUPS if set(group.systems) & set(wanted)]
    known = {name for group in GROUPS for name in group.systems}
    others = [name for name in wanted if name not in known]
    return found + [SystemGroup(key=name, name=system_label(name), systems=(name,)) for name in others]
