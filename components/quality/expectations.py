"""Expectations carried out by Great Expectations on pandas frames, never on image bytes.

A check has a severity: ``warning`` sends the failing rows to quarantine, ``critical`` fails the gate,
``info`` is only reported. An expectation that raises counts as failed, whatever its severity.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from components.quality.errors import GateError

if TYPE_CHECKING:
    import pandas as pd

# Expectations of single rows, by the beginnings of their names: they hold of a table if they hold of its
# parts.
OF_ROWS = (
    "expect_column_values_", "expect_column_value_lengths_", "expect_column_pair_values_",
    "expect_select_column_values_", "expect_multicolumn_values_",
)  # fmt: skip
SHOWN_CHARS = 80  # of a value in a reason
ACROSS_ROWS = (
    "expect_column_values_to_be_unique", "expect_column_values_to_be_increasing",
    "expect_column_values_to_be_decreasing", "expect_column_values_to_not_be_outliers",
)  # fmt: skip


@dataclass(frozen=True)
class Check:
    """One expectation of one kind of record, with its parameters filled in.

    ``expectation`` is Great Expectations' name of it, ``arguments`` are its arguments. ``reason`` is said of
    each failing row; ``{value}`` in it stands for what the row holds in the column, ``{length}`` for the
    length of it, ``{name}`` for what it holds in another column.
    """

    kind: str
    field: str
    says: str
    severity: str
    expectation: str
    arguments: Mapping[str, Any]
    reason: str
    parameters: tuple[str, ...] = ()  # that the limits in ``says`` come from: quality.min_products

    @property
    def column(self) -> str | None:
        """The frame's column that holds the value shown in a reason."""
        return self.arguments.get("column")

    @property
    def columns(self) -> set[str]:
        """The columns that the expectation reads."""
        named = {self.arguments.get(name) for name in ("column", "column_A", "column_B")}
        condition = self.arguments.get("row_condition")
        if isinstance(condition, Mapping) and isinstance(condition.get("column"), Mapping):
            named.add(condition["column"].get("name"))
        return {str(name) for name in (named | set(self.arguments.get("column_list") or ())) if name}

    @property
    def by_row(self) -> bool:
        """Whether each row is judged without looking at any other."""
        of_rows = self.expectation.startswith(OF_ROWS) and self.expectation not in ACROSS_ROWS
        return of_rows and "mostly" not in self.arguments


@dataclass(frozen=True)
class Outcome:
    """What came of a check. ``failing`` are numbers of rows, ``error`` says why it could not be done."""

    check: Check
    success: bool
    rows: int  # 1 for an expectation of the whole
    failing: tuple[int, ...] = ()
    observed: str = ""
    error: str = ""
    reasons: Mapping[int, str] = field(default_factory=dict)
    names_rows: bool = True  # false for an expectation of the whole: nothing can be set aside for it


def validate(frame: pd.DataFrame, checks: Sequence[Check]) -> list[Outcome]:
    """Carry out ``checks`` on ``frame`` and return their outcomes in the same order.

    Rows are known by the frame's column ``row``, which rises; without one, by their places from 0. Nothing is
    sent anywhere: the context is ephemeral, its analytics are off.

    Raises:
        GateError: Great Expectations is not installed, knows no such expectation, or gave no result.
    """
    if "row" not in frame:
        frame = frame.assign(row=range(len(frame)))
    results = _validated(frame, checks)
    missing = [check.says for i, check in enumerate(checks) if i not in results]
    if missing:
        raise GateError(f"No result came back for the check '{missing[0]}'; nothing passes unchecked.")
    return [_outcome(frame, check, results[i]) for i, check in enumerate(checks)]


def of_kind(outcome: Outcome, kind: str) -> Outcome:
    """The same outcome, counted among those of ``kind``: several tables may be about one kind of record."""
    return replace(outcome, check=replace(outcome.check, kind=kind))


def joined(parts: Sequence[list[Outcome]]) -> list[Outcome]:
    """The outcomes of a table whose parts were checked one by one."""
    return [_joined(outcomes) for outcomes in zip(*parts, strict=True)]


def _joined(outcomes: Sequence[Outcome]) -> Outcome:
    return replace(
        outcomes[0],
        success=all(outcome.success for outcome in outcomes),
        rows=sum(outcome.rows for outcome in outcomes),
        failing=tuple(row for outcome in outcomes for row in outcome.failing),
        error=next((outcome.error for outcome in outcomes if outcome.error), ""),
        reasons={row: why for outcome in outcomes for row, why in outcome.reasons.items()},
    )


def _validated(frame: pd.DataFrame, checks: Sequence[Check]) -> dict[int, Any]:
    """Great Expectations' result of each check, by position (it returns them grouped by column)."""
    batch = _whole_frames().get_batch(batch_parameters={"dataframe": frame})
    import great_expectations as gx

    asked = [_expectation(check, i) for i, check in enumerate(checks)]
    suite = gx.ExpectationSuite(name="checks", expectations=asked)
    form = {
        "result_format": "COMPLETE",
        "unexpected_index_column_names": ["row"],
        "return_unexpected_index_query": False,
    }
    found = batch.validate(suite, result_format=form)
    return {result.expectation_config.meta["check"]: result for result in found.results}


@cache
def _whole_frames() -> Any:
    """The batch definition that all frames go through: making one writes the whole context as YAML."""
    asset = open_context().data_sources.add_pandas("frame").add_dataframe_asset("rows")
    return asset.add_batch_definition_whole_dataframe("all")


def _expectation(check: Check, position: int) -> Any:
    from difflib import get_close_matches

    from great_expectations.expectations import registry

    known = registry.list_registered_expectation_implementations()
    if check.expectation not in known:
        near = get_close_matches(check.expectation, known, 1)
        raise GateError(
            f"Great Expectations has no {check.expectation}" + f"; did you mean {near[0]}?" * bool(near)
        )
    made = registry.get_expectation_impl(check.expectation)
    try:
        return made(**check.arguments, severity=check.severity, meta={"check": position})
    except (ValueError, TypeError) as error:
        text = " ".join(str(error).split())[:200]
        raise GateError(f"{check.expectation} of {check.kind} cannot be asked like this: {text}") from None


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
    if "unexpected_index_list" not in result.result:
        return _whole(check, result, error)
    failing = tuple(sorted({int(entry["row"]) for entry in result.result["unexpected_index_list"] or ()}))
    if not error and not result.success and not failing:
        error = "it failed without naming a row"
    rows = frame.iloc[frame["row"].searchsorted(list(failing))].to_dict("records")
    reasons = {row: _reason(check, values) for row, values in zip(failing, rows, strict=True)}
    return Outcome(check, bool(result.success) and not error, len(frame), failing, "", error, reasons)


def _whole(check: Check, result: Any, error: str) -> Outcome:
    """The outcome of an expectation of the whole, as of a table with one row."""
    if error or result.success:
        return Outcome(check, not error, 1, error=error, names_rows=False)
    said = check.reason.format(value=result.result.get("observed_value"))
    return Outcome(check, False, 1, (0,), reasons={0: said}, names_rows=False)


def _reason(check: Check, row: Mapping[Hashable, Any]) -> str:
    value = row[check.column] if check.column else None
    length = len(value) if isinstance(value, str) else 0
    # Columns of problems are sentences already; of anything else the beginning tells which one is meant.
    named = {str(name): held for name, held in row.items()}
    columns = {n: held if n.endswith("_problem") else shortened(held) for n, held in named.items()}
    return check.reason.format_map(columns | {"value": shortened(value), "length": length})


def shortened(value: Any) -> Any:
    """A long text as its first ``SHOWN_CHARS`` characters; anything else as it is."""
    long = isinstance(value, str) and len(value) > SHOWN_CHARS
    return f"{value[:SHOWN_CHARS]}\u2026" if long else value


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
