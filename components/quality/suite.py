"""Suites: what must hold of each table of a gate, in files that people read and extend.

``suites/GATE.yaml`` names tables and gives the expectations of each, in Great Expectations' own words.
Further ones stand in params.yaml or a profile under the same names of tables, as in
``quality.expectations.products``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import Field

from components.quality.expectations import Check
from components.stage.errors import ConfigurationError
from components.stage.params import Params, read_yaml, validate

SUITES = Path(__file__).parent / "suites"
GATES_OF_A_BLOCK = (("catalogue", "embeddings"), ("refined", "preferences"))
REFERENCE = re.compile(r"\$\{(\w+)(?::([^{}]*))?\}")


class Expectation(Params):
    """One line of a suite. Texts may refer to ``${parameter}``, a reason also to ``{column}`` of the row."""

    type: str  # as Great Expectations names it: expect_column_values_to_be_in_set
    kwargs: dict[str, Any] = Field(default_factory=dict)
    where: dict[str, str] = Field(default_factory=dict, max_length=1)  # of rows with {column: value} only
    # warning sets the row aside (where a gate has a quarantine), critical fails the gate, info is reported
    severity: str = Field("critical", pattern=r"^(critical|warning|info|\$\{\w+\})$")
    description: str = ""  # what must hold; without one, the type and its arguments
    reason: str = ""  # said of a row that fails: {value} and {length} of it, or any column
    field: str = ""  # what the page names as the field; without one, the column


class _Suite(Params):
    tables: dict[str, tuple[Expectation, ...]]


def load_suite(
    gate: str, further: Mapping[str, Sequence[Expectation]], values: Mapping[str, Any]
) -> dict[str, list[Check]]:
    """The checks of each table of a gate: those of its file, then those of ``further`` about its tables.

    ``values`` are what ``${name}`` stands for.

    Raises:
        ConfigurationError: a line does not fit, refers to an unknown name, or is about an unknown table.
    """
    gates = next(gates for gates in GATES_OF_A_BLOCK if gate in gates)
    known = {name: _tables(SUITES / f"{name}.yaml") for name in gates}
    tables = [table for name in gates for table in known[name]]
    if unknown := sorted(set(further) - set(tables)):
        raise ConfigurationError(
            f"there is no table {unknown[0]!r} to expect anything of; there are: {', '.join(tables)}."
        )
    return {
        table: [_check(table, line, values) for line in (*lines, *further.get(table, ()))]
        for table, lines in known[gate].items()
    }


def _tables(file: Path) -> dict[str, tuple[Expectation, ...]]:
    return validate(_Suite, {"tables": read_yaml(file)}, str(file)).tables


def _check(table: str, line: Expectation, values: Mapping[str, Any]) -> Check:
    arguments = _resolved(line.kwargs, values)
    for name, value in line.where.items():
        equal = {"type": "comparison", "column": {"name": name}, "operator": "==", "parameter": value}
        arguments["row_condition"] = equal
    column = arguments.get("column") or next(iter(arguments.get("column_list") or ()), "")
    about = {**line.where, **_resolved(line.kwargs, values)}
    stated = ", ".join(f"{name} {value}" for name, value in about.items() if name != "column")
    says = f"{column} {line.type.removeprefix('expect_').replace('_', ' ')}" + f" ({stated})" * bool(stated)
    return Check(
        kind=table,
        field=line.field or column or "rows",
        says=_resolved(line.description, values) or says.strip(),
        severity=_resolved(line.severity, values),
        expectation=line.type,
        arguments=arguments,
        reason=_resolved(line.reason, values) or f"{column or 'it'} is {{value!r}}",
    )


def _resolved(value: Any, values: Mapping[str, Any]) -> Any:
    """``value`` with every ``${name}`` in it replaced; one that stands alone keeps the type of its value."""
    if isinstance(value, dict):
        return {name: _resolved(item, values) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_resolved(item, values) for item in value]
    if not isinstance(value, str):
        return value
    if (alone := REFERENCE.fullmatch(value)) and not alone[2]:
        return _named(alone[1], values)
    return REFERENCE.sub(lambda match: format(_named(match[1], values), match[2] or ""), value)


def _named(name: str, values: Mapping[str, Any]) -> Any:
    if name not in values:
        near = get_close_matches(name, values, 1)
        hint = f"; did you mean ${{{near[0]}}}?" if near else "."
        raise ConfigurationError(f"a suite refers to ${{{name}}}, which is no parameter{hint}")
    return values[name]
