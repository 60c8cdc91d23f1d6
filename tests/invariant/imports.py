"""Which files of ``components`` a stage's command runs, read from the imports in the source."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND = re.compile(r"python -m components\.stage ([\w.]+)")


@cache
def named_modules(file: Path) -> frozenset[str]:
    """Dotted names that a file imports, at its top or inside any function."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        found |= _names(node)
    return frozenset(found)


def _names(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        # `from package import module` names a module, `from module import name` does not
        return {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return set()


def files_of(names: set[str] | frozenset[str]) -> set[Path]:
    """Our files behind dotted names; empty ``__init__.py`` are nothing to depend on."""
    found = set()
    for name in names:
        path = ROOT.joinpath(*name.split("."))
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if name.startswith("components.") and file.is_file() and file.stat().st_size:
                found.add(file)
    return found


def closure(start: set[Path]) -> set[Path]:
    """Every file reached from ``start`` by imports, ``start`` included."""
    found: set[Path] = set()
    todo = list(start)
    while todo:
        file = todo.pop()
        if file not in found:
            found.add(file)
            todo += files_of(named_modules(file))
    return found


def stage_files(command: str) -> set[str]:
    """The files that a stage's command runs, relative to the root."""
    room = COMMAND.search(command)
    assert room, f"no stage of ours: {command}"
    stage = ROOT / "components" / room[1].replace(".", "/") / "stage.py"
    start = {stage, ROOT / "components/stage/__main__.py"}
    return {file.relative_to(ROOT).as_posix() for file in closure(start)}
