"""Checks carried out by Great Expectations on pandas frames of precomputed columns, never on image bytes.

A check is one expectation with a level: ``row`` sends the failing rows to quarantine, ``set`` fails the gate,
``note`` is only reported. An expectation that raises counts as failed, whatever its level.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from components.quality.errors import GateError

if TYPE_CHECKING:
    import pandas as pd

Level = Literal["row", "set", "note"]
SEVERITY = {"row": "warning", "set": "critical", "note": "info"}


@dataclass(frozen=True)
class Check:
    """One expectation about one field of one kind of record.

    ``expectation`` is the name of a class in ``great_expectations.expectations``, ``arguments`` its
    arguments. ``reason`` is said of each failing row; ``{value}`` in it stands for what the row holds in the
    column.
    """

    kind: str
    field: str
    says: str
    level: Level
    expectation: str
    arguments: Mapping[str, Any]
    reason: str

    @property
    def column(self) -> str:
        """The frame's column that holds the value shown in a reason."""
        return str(self.arguments.get("column") or self.arguments["column_list"][-1])


@dataclass(frozen=True)
class Outcome:
    """What came of a check. ``failing`` are rows of the frame, ``error`` says why it could not be done."""

    check: Check
    success: bool
    rows: int
    failing: tuple[int, ...] = ()
    observed: str = ""
    error: str = ""
    reasons: Mapping[int, str] = field(default_factory=dict)


def between(
    kind: str, name: str, says: str, level: Level, column: str, reason: str, **limits: float
) -> Check:
    """A check that numbers lie between ``min_value`` and ``max_value``; null passes."""
    arguments = {"column": column, **limits}
    return Check(kind, name, says, level, "ExpectColumnValuesToBeBetween", arguments, reason)


def present(kind: str, name: str, column: str) -> Check:
    """A check that a value is there."""
    says = f"{name} is present"
    arguments = {"column": column}
    return Check(kind, name, says, "row", "ExpectColumnValuesToNotBeNull", arguments, f"{name} is missing")


def unique(kind: str, name: str, column: str) -> Check:
    """A check that no two rows share a value; all that do fail, for none is known to be right."""
    reason = f"{name} {{value!r}} is used by more than one row"
    arguments = {"column": column}
    return Check(kind, name, f"{name} is unique", "row", "ExpectColumnValuesToBeUnique", arguments, reason)


def one_of(kind: str, name: str, column: str, values: Sequence[str]) -> Check:
    """A check that a value is one of a closed list."""
    says = f"{name} is one of {', '.join(values[:5])}" + (f" and {len(values) - 5} more" * (len(values) > 5))
    arguments = {"column": column, "value_set": list(values)}
    reason = f"{name} {{value!r}} is unknown"
    return Check(kind, name, says, "row", "ExpectColumnValuesToBeInSet", arguments, reason)


def no_problem(kind: str, name: str, says: str, column: str, level: Level = "row") -> Check:
    """A check that a column of problems, worked out beforehand, is empty; the problem is the reason."""
    arguments = {"column": column, "value_set": [""]}
    return Check(kind, name, says, level, "ExpectColumnValuesToBeInSet", arguments, "{value}")


def validate(frame: pd.DataFrame, checks: Sequence[Check]) -> list[Outcome]:
    """Carry out ``checks`` on ``frame`` (index 0 .. n-1) and return their outcomes in the same order.

    A frame without rows fulfils every check of its rows. Nothing is sent anywhere: the context is ephemeral,
    its analytics are off.

    Raises:
        GateError: Great Expectations is not installed or returned no result for a check.
    """
    if not len(frame):
        return [Outcome(check, True, 0, observed="no rows") for check in checks]
    results = _validated(frame, checks)
    missing = [check.says for i, check in enumerate(checks) if i not in results]
    if missing:
        raise GateError(f"No result came back for the check '{missing[0]}'; nothing passes unchecked.")
    return [_outcome(frame, check, results[i]) for i, check in enumerate(checks)]


def _validated(frame: pd.DataFrame, checks: Sequence[Check]) -> dict[int, Any]:
    """Great Expectations' result of each check, by position (it returns them grouped by column)."""
    context = open_context()
    import great_expectations as gx
    import great_expectations.expectations as gxe

    batch = (
        context.data_sources.add_or_update_pandas("frame")
        .add_dataframe_asset("rows")
        .add_batch_definition_whole_dataframe("all")
        .get_batch(batch_parameters={"dataframe": frame})
    )
    expectations = [
        getattr(gxe, check.expectation)(**check.arguments, severity=SEVERITY[check.level], meta={"check": i})
        for i, check in enumerate(checks)
    ]
    suite = gx.ExpectationSuite(name="checks", expectations=expectations)
    found = batch.validate(suite, result_format="COMPLETE")
    return {result.expectation_config.meta["check"]: result for result in found.results}


@cache
def open_context() -> Any:
    """Great Expectations' one context of the process, in memory only; loading it takes seconds, once.

    Raises:
        GateError: Great Expectations is not installed.
    """
    try:
        import great_expectations as gx
    except ImportError as error:
        raise GateError(
            f"Great Expectations cannot be loaded ({error}); install the extra 'quality'."
        ) from None
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = {"globally": False}
    return context


def _outcome(frame: pd.DataFrame, check: Check, result: Any) -> Outcome:
    error = _exception(result.exception_info)
    failing = tuple(sorted({int(i) for i in result.result.get("unexpected_index_list") or ()}))
    if not error and not result.success and not failing:
        error = "it failed without naming a row"
    values = frame[check.column]
    reasons = {i: check.reason.format(value=values.iloc[i]) for i in failing}
    return Outcome(check, bool(result.success) and not error, len(frame), failing, "", error, reasons)


def _exception(info: Any) -> str:
    """The message of an expectation that raised; empty when it did not.

    Great Expectations gives one mapping, or one per metric under the metric's name.
    """
    if not isinstance(info, Mapping):
        return ""
    nested = [info, *(value for value in info.values() if isinstance(value, Mapping))]
    for entry in nested:
        if entry.get("raised_exception"):
            return " ".join(str(entry.get("exception_message") or "an exception").split())[:200]
    return ""
