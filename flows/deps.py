"""Which source files a stage's code consists of, written into dvc.yaml: ``python -m flows.deps [--check]``.

A stage depends on the import closure of its door: the top level of ``__main__.py``, the body of its command,
and everything of ``components`` that those import, wherever the import stands. An edit then reruns exactly
the stages that it can change.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

DOOR = re.compile(r"python -m (components\.\w+) (\w+)")
GRAPHS = (Path("dvc.yaml"), Path("studies/dvc.yaml"))


def module_file(name: str) -> Path | None:
    """The file of a dotted module name, if it is one of ours."""
    path = Path(*name.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None


def _imported(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            # `from package import module` names a module, `from module import name` does not
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _files(names: Iterable[str]) -> set[Path]:
    found = {module_file(n) for n in names if n.split(".")[0] == "components"}
    return {f for f in found if f is not None and f.stat().st_size > 0}


@cache
def direct_imports(file: Path) -> frozenset[Path]:
    """Our files that a file imports, at its top or inside any function."""
    return frozenset(_files(_imported(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))))


def closure(start: Iterable[Path]) -> set[Path]:
    """Every file reached from ``start`` by imports, ``start`` included."""
    found: set[Path] = set()
    todo = list(start)
    while todo:
        file = todo.pop()
        if file not in found:
            found.add(file)
            todo += direct_imports(file)
    return found


def _used(chosen: ast.FunctionDef, tree: ast.Module, functions: dict[str, ast.FunctionDef]) -> set[str]:
    """Names of the door's private functions that ``chosen``, or the module itself, comes to call."""
    found: set[str] = set()
    todo: list[ast.AST] = [chosen, *(n for n in tree.body if not isinstance(n, ast.FunctionDef))]
    while todo:
        named = {n.id for n in ast.walk(todo.pop()) if isinstance(n, ast.Name)}
        new = {n for n in named if n.startswith("_") and n in functions} - found
        found |= new
        todo += [functions[n] for n in new]
    return found


def door_code(component: str, command: str) -> list[str]:
    """The source files behind one command of a door, sorted.

    Raises:
        LookupError: the door has no function of that name.
    """
    door = Path(*component.split(".")) / "__main__.py"
    tree = ast.parse(door.read_text(encoding="utf-8"))
    functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
    chosen = functions.get(command) or functions.get(f"{command}_command")
    if chosen is None:
        raise LookupError(f"{door} has no function '{command}', which dvc.yaml runs.")
    used = _used(chosen, tree, functions)
    others = [f for f in functions.values() if f is not chosen and f.name not in used]
    hidden = {id(n) for f in others for n in ast.walk(f)}
    visible = [n for n in ast.walk(tree) if id(n) not in hidden and not _under_main_guard(tree, n)]
    return sorted(f.as_posix() for f in {door, *closure(_files(_imported(visible)))})


def _under_main_guard(tree: ast.Module, node: ast.AST) -> bool:
    # `if __name__ == "__main__":` may start commands that are no stages
    return any(node is inner for guard in tree.body if isinstance(guard, ast.If) for inner in ast.walk(guard))


def rewrite(text: str) -> str:
    """The graph with every stage's code dependencies brought up to date; the rest stays as written."""
    lines, out, stage_code = text.splitlines(), [], list[str]()
    in_deps = False
    for line in lines:
        door = DOOR.search(line)
        if line.strip().startswith("cmd:") and door:
            stage_code = door_code(door.group(1), door.group(2))
        if in_deps and re.match(r"\s+- .*\.py$", line):
            continue
        if in_deps and not re.match(r"\s+- ", line):
            out += [f"      - {file}" for file in stage_code]
            in_deps = False
        if line.strip() == "deps:":
            in_deps = True
        out.append(line)
    if in_deps:
        out += [f"      - {file}" for file in stage_code]
    return "\n".join(out) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Write the graphs, or with ``--check`` say which are out of date (exit code 1)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args(argv)
    stale = []
    for graph in GRAPHS:
        if not graph.exists():
            continue
        text = graph.read_text(encoding="utf-8")
        new = rewrite(text)
        if new != text:
            stale.append(str(graph))
            if not arguments.check:
                graph.write_text(new, encoding="utf-8")
    if stale and arguments.check:
        print(f"{', '.join(stale)}: code dependencies are out of date; run `make deps`.", file=sys.stderr)
        return 1
    print(f"updated: {', '.join(stale)}" if stale else "code dependencies are up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
