"""``vitrine params``: every parameter with its value, documentation and, where it differs, its default."""

from __future__ import annotations

import ast
import difflib
import inspect
import io
import json
import textwrap
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from components.parameters.blocks import BLOCKS, check_blocks, model
from components.parameters.profiles import profile_values
from components.stage.errors import ConfigurationError
from components.stage.params import did_you_mean, full_stop


class ParameterRow(NamedTuple):
    """One parameter, or the head of a nested block (whose values are ``...``)."""

    key: str  # dotted, from the block on
    value: Any
    default: Any
    doc: str


def field_docs(kind: type[BaseModel]) -> dict[str, str]:
    """Field -> the comments above it and beside it, of a model and its parents."""
    found: dict[str, str] = {}
    for cls in reversed(kind.__mro__):
        if issubclass(cls, BaseModel) and cls.__module__.split(".")[0] == "components":
            found |= _docs_of_class(textwrap.dedent(inspect.getsource(cls)))
    return found


def _docs_of_class(source: str) -> dict[str, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
    lines = source.splitlines()
    found: dict[str, str] = {}
    body = ast.parse(source).body[0]
    for node in body.body if isinstance(body, ast.ClassDef) else ():
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        first = node.lineno
        while first - 1 in comments and lines[first - 2].lstrip().startswith("#"):
            first -= 1
        told = [comments[n] for n in range(first, (node.end_lineno or node.lineno) + 1) if n in comments]
        if told:
            found[node.target.id] = " ".join(told)
    return found


def rows(values: BaseModel, default: Any, prefix: str) -> Iterator[ParameterRow]:
    """Every parameter of a block, nested ones after their head. ``default``: the same block, nothing set."""
    docs = field_docs(type(values))
    for name in type(values).model_fields:
        value, usual = getattr(values, name), getattr(default, name, None)
        key, doc = f"{prefix}.{name}", docs.get(name, "")
        if isinstance(value, BaseModel):
            yield ParameterRow(key, ..., ..., doc or (inspect.getdoc(type(value)) or "").split("\n\n")[0])
            yield from rows(value, usual, key)
        else:
            yield ParameterRow(key, value, usual, doc)


def resolved(root: Path, profile: str | None, overrides: Sequence[str] = ()) -> Mapping[str, BaseModel]:
    """Every block as a run of the profile would have it.

    Raises:
        ConfigurationError: see :func:`components.parameters.profiles.profile_values`.
    """
    given = profile_values(root, profile, overrides)
    return check_blocks({block: given.get(block, {}) for block in BLOCKS}, "params.yaml")


def changed(blocks: Mapping[str, BaseModel]) -> dict[str, str]:
    """Dotted key -> value, as text, of every parameter that differs from its default."""
    found = (row for name, block in blocks.items() for row in rows(block, model(name)(), name))
    return {row.key: _told(row.value) for row in found if row.value is not ... and row.value != row.default}


def print_parameters(
    console: Console, blocks: Mapping[str, BaseModel], key: str | None, as_json: bool
) -> None:
    """Print all blocks, one, or what lies at a dotted key of one, for people or for machines.

    Raises:
        ConfigurationError: there is no such block, or no such key in it.
    """
    wanted = _at(blocks, key) if key else {name: _rows(blocks, name) for name in blocks}
    if as_json:
        flat = [row._asdict() for found in wanted.values() for row in found if row.value is not ...]
        print(json.dumps(flat, indent=1, default=_plain))
        return
    for name, found in wanted.items():
        console.print(f"\n[bold]{name}[/]  [dim]{_head(blocks[name])}[/]", highlight=False)
        console.print(_table(found))
    console.print("[dim]* differs from the default, which stands behind it in brackets[/]", highlight=False)


def _rows(blocks: Mapping[str, BaseModel], name: str) -> list[ParameterRow]:
    return list(rows(blocks[name], model(name)(), name))


def _at(blocks: Mapping[str, BaseModel], key: str) -> dict[str, list[ParameterRow]]:
    """The rows of a block, or of a dotted key in it: the parameter, or the head and all that is below it."""
    name, _, below = key.partition(".")
    if name not in blocks:
        raise ConfigurationError(full_stop(f"There is no block '{name}', {did_you_mean(name, list(blocks))}"))
    there = _rows(blocks, name)
    found = [row for row in there if f"{row.key}.".startswith(f"{key}.")] if key != name else there
    if not found:
        keys = [row.key.removeprefix(f"{name}.") for row in there]
        near = difflib.get_close_matches(below, keys, n=1)
        told = f"did you mean {name}.{near[0]}?" if near else f"see: vitrine params {name}"
        raise ConfigurationError(f"There is no parameter '{key}', {told}")
    return {name: found}


def _head(block: BaseModel) -> str:
    return " ".join((inspect.getdoc(type(block)) or "").split("\n\n")[0].replace("``", "").split())


def _table(found: list[ParameterRow]) -> Table:
    table = Table(box=box.SIMPLE, show_header=False, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("parameter", max_width=34, overflow="fold")
    table.add_column("value", max_width=30, overflow="fold")
    table.add_column("what it is", overflow="fold", style="dim")
    for row in found:
        name = "  " * (row.key.count(".") - 1) + row.key.rsplit(".", 1)[1]
        if row.value is ...:
            table.add_row(Text(name, style="bold"), "", Text(row.doc))
            continue
        changed = row.value != row.default
        value = f"{_told(row.value)} * [{_told(row.default)}]" if changed else _told(row.value)
        table.add_row(name, Text(value, style="yellow" if changed else ""), Text(row.doc))
    return table


def _told(value: Any) -> str:
    if value is None or isinstance(value, BaseModel):
        return "null" if value is None else "a block"
    return value if isinstance(value, str) else json.dumps(value, default=_plain)


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)
