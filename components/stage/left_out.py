"""Stages that a catalogue cannot feed: left out with a reason, and the graph goes on.

A stage that finds nothing to work on (no query to learn from, no attribute to name) raises
:class:`NotPossibleError` before it begins. The frame then writes a **note** in the place of each of its
outputs; a stage that reads one is left out for the same reason, and the report says so.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from markupsafe import escape

from components.stage.errors import InvalidDataError
from components.stage.files.printable import printable
from components.stage.files.publish import published, write_text
from components.stage.record import Record

COPES = ("report",)  # rooms that work on what is there
KEY = "_left_out"
NOTE = "left_out.json"  # in an output that is a folder
NO_CURVES = "step\n"  # a table of curves without a curve
SMALL_BYTES = 10_000  # a note is one sentence; larger files are not looked into
GRAPH = Path("dvc.yaml")
PAGE = (
    '<!doctype html>\n<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'\"><title>Left out</title>\n<p>Left out: {}</p>\n"
)


class NotPossibleError(InvalidDataError):
    """This catalogue lacks what the stage works on; the message says what, and what would help."""


def reason_in(path: Path) -> str:
    """Why the output at ``path``, a file or a folder, was left out; empty when it is there."""
    if path.suffix == ".csv":
        return "left out" if path.is_file() and path.read_bytes() == NO_CURVES.encode() else ""
    note = path if path.suffix == ".json" else path / NOTE
    try:
        if note.stat().st_size > SMALL_BYTES:
            return ""
        loaded = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(loaded.get(KEY, "")) if isinstance(loaded, dict) else ""


def write_note(path: Path, reason: str) -> None:
    """Put the note where an output would be: a folder, or a file of its kind that holds nothing else."""
    text = json.dumps({KEY: reason}, indent=1) + "\n"
    if path.suffix == ".json":
        write_text(path, text)
    elif path.suffix == ".csv":
        write_text(path, NO_CURVES)
    elif path.suffix == ".html":
        write_text(path, PAGE.format(escape(reason)))
    else:
        with published(path) as folder:
            folder.mkdir()
            (folder / NOTE).write_text(text, encoding="utf-8")


@contextmanager
def left_out_if_impossible(words: Sequence[str], record: Record) -> Iterator[bool]:
    """Around the work of the stage command ``words``: whether its inputs are there.

    Where they are not, or the work raises :class:`NotPossibleError`, notes take the place of its outputs.
    """
    declared = Declared(words)
    record.left_out = "" if words[0] in COPES else declared.reason()
    try:
        yield not record.left_out
    except NotPossibleError as error:
        if not declared.writes:  # run by hand: nobody waits for the outputs
            raise
        record.left_out = printable(str(error))
    if record.left_out:
        for path in declared.writes:
            write_note(path, record.left_out)
        record.outputs = [path.as_posix() for path in declared.writes]
        print(f"left out: {record.left_out}", file=sys.stderr)


class Declared:
    """What the graph of this workspace says that a stage command reads and writes; nothing by hand."""

    def __init__(self, words: Sequence[str], graph: Path = GRAPH) -> None:
        self.reads: list[Path] = []
        self.writes: list[Path] = []
        command = ["python", "-m", "components.stage", *words]
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the other takes 0.2 s for our graph
        graphed = yaml.load(graph.read_bytes(), loader) if graph.is_file() else {}
        stages = graphed.get("stages", {})
        for stage in stages.values():
            for item in _items(stage):
                if _filled(str(stage.get("cmd", "")), item).split() == command:
                    self.reads = [Path(_filled(path, item)) for path in _paths(stage, "deps")]
                    self.writes = [
                        Path(_filled(path, item))
                        for kind in ("outs", "metrics")
                        for path in _paths(stage, kind)
                    ]

    def reason(self) -> str:
        """Why an input was left out; empty when all are there."""
        return next(filter(None, map(reason_in, self.reads)), "")


def _items(stage: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each item of a stage's matrix as (key, value); one empty pair where there is no matrix."""
    matrix = stage.get("matrix") or {"": [""]}
    return ((key, str(value)) for key, values in matrix.items() for value in values)


def _filled(text: str, item: tuple[str, str]) -> str:
    return text.replace(f"${{item.{item[0]}}}", item[1])


def _paths(stage: Mapping[str, Any], kind: str) -> Iterator[str]:
    """Entries of ``deps``, ``outs`` or ``metrics``; one with settings is a mapping of one key."""
    return (entry if isinstance(entry, str) else next(iter(entry)) for entry in stage.get(kind, []))
