"""What a gate found: quarantined rows, outcomes of the checks, and whether the data may pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from components.quality.errors import GateError
from components.quality.expectations import Check, Outcome, of_kind, validate
from components.stage.errors import VitrineError
from components.stage.resume import sha256_file

if TYPE_CHECKING:
    import pandas as pd


class BadRow(NamedTuple):
    """One reason why one row was set aside; ``row`` counts from 0 in its file or shards; a source row
    that never became one of them has a negative number of its own, and its place in the reason.

    ``counted`` is false for a row that is sound itself but belongs to one that was set aside.
    """

    kind: str
    product_id: str
    query_id: str
    row: int
    field: str
    reason: str
    expectation: str
    counted: bool = True


@dataclass
class Verdict:
    """All that a gate found, in the order it looked."""

    title: str
    max_bad_fraction: float
    rows: dict[str, int] = field(default_factory=dict)  # kind -> rows looked at
    bad: list[BadRow] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    facts: dict[str, dict[str, int]] = field(default_factory=dict)  # table title -> label -> count
    inputs: dict[str, str] = field(default_factory=dict)  # file -> sha256 of what was judged
    errors: list[str] = field(default_factory=list)  # why the checks ended early

    @contextmanager
    def failing_closed(self) -> Iterator[None]:
        """Checks made inside raise nothing: an error ends them, is noted, and the verdict has not passed."""
        try:
            yield
        except Exception as error:
            text = " ".join(str(error).split())
            if isinstance(error, VitrineError):
                self.errors.append(f"it could not be checked: {text}")
            else:
                what = f"{type(error).__name__}: {text[:200]}"
                self.errors.append(f"it could not be checked ({what}), and nothing passes unchecked")

    def note_input(self, file: Path) -> None:
        """Note the file's sha256, so that the page says which bytes were judged."""
        self.inputs[file.as_posix()] = sha256_file(file)

    def check(self, kind: str, frame: pd.DataFrame, checks: Sequence[Check]) -> None:
        """Carry out checks of a table without quarantine and keep their outcomes.

        Raises:
            GateError: as ``validate``; or a check would set rows aside, and there is nowhere to put them.
        """
        if aside := next((check for check in checks if check.severity == "warning"), None):
            raise GateError(
                f"'{aside.says}' of {aside.kind} has severity warning, but no row of it can be set aside; "
                "make it critical or info"
            )
        self.outcomes += [of_kind(outcome, kind) for outcome in validate(frame, checks)]

    def bad_rows(self, kind: str, counted_only: bool = False) -> set[int]:
        """Rows of a kind that were set aside; negative ones were never built."""
        return {bad.row for bad in self.bad if bad.kind == kind and (bad.counted or not counted_only)}

    def fraction(self, kind: str) -> float:
        """Share of the rows of a kind that are bad in themselves."""
        return len(self.bad_rows(kind, counted_only=True)) / max(1, self.rows.get(kind, 0))

    def reasons(self, kind: str) -> dict[str, int]:
        """How many rows of a kind failed each check, most frequent first."""
        seen = {(bad.row, bad.expectation) for bad in self.bad if bad.kind == kind}
        counts = Counter(expectation for _, expectation in seen)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def failures(self) -> list[str]:
        """Why the gate fails, causes before what follows from them; empty when it passes."""
        broken = [o for o in self.outcomes if o.error]
        found = [*self.errors, *(f"the check '{o.check.says}' could not be done: {o.error}" for o in broken)]
        for kind in self.rows:
            if self.fraction(kind) > self.max_bad_fraction:
                worst = ", ".join(f"{n} not '{name}'" for name, n in list(self.reasons(kind).items())[:3])
                found.append(
                    f"{len(self.bad_rows(kind, counted_only=True))} of {self.rows[kind]:,} {kind} are bad "
                    f"({self.fraction(kind):.1%}, quality.max_bad_fraction is "
                    f"{self.max_bad_fraction:.1%}): {worst}"
                )
        for outcome in self.outcomes:
            if outcome.check.severity == "critical" and not outcome.success and not outcome.error:
                first = next(iter(outcome.reasons.values()), outcome.observed)
                many = f"{len(outcome.failing)} rows; first: " if outcome.rows > 1 else ""
                limits = "".join(f"; the limit is {name}" for name in outcome.check.parameters)
                found.append(f"'{outcome.check.says}' does not hold ({many}{first}{limits})")
        return found

    @property
    def passed(self) -> bool:
        """Whether nothing fails and everything could be checked."""
        return not self.failures()

    def summary(self) -> dict[str, Any]:
        """The gate's JSON: ``{"passed", "failures", "max_bad_fraction", "inputs", "kinds": {kind: ...}}``."""
        return {
            "passed": self.passed,
            "failures": self.failures(),
            "max_bad_fraction": self.max_bad_fraction,
            "inputs": self.inputs,
            "facts": self.facts,
            "kinds": {kind: self._kind_summary(kind) for kind in self.rows},
        }

    def _kind_summary(self, kind: str) -> dict[str, Any]:
        return {
            "rows": self.rows[kind],
            "quarantined": len(self.bad_rows(kind)),
            "bad_fraction": round(self.fraction(kind), 6),
            "reasons": self.reasons(kind),
            "expectations": [_described(o) for o in self.outcomes if o.check.kind == kind],
        }


def _described(outcome: Outcome) -> dict[str, Any]:
    asked = {name: getattr(outcome.check, name) for name in ("expectation", "field", "says", "severity")}
    seen = {name: getattr(outcome, name) for name in ("success", "rows", "observed", "error")}
    return {**asked, **seen, "failing": len(outcome.failing)}


def write_quarantine(path: Path, bad: Sequence[BadRow]) -> None:
    """Write the quarantine: one row per reason, without pictures; an empty one has the columns all the same.

    ``row`` is null for a source row that never came so far; its reason names its place in the source.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"row": pa.int64(), "counted": pa.bool_()}
    schema = pa.schema([(name, types.get(name, pa.string())) for name in BadRow._fields])
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [one._asdict() | {"row": one.row if one.row >= 0 else None} for one in bad]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, compression="zstd")
