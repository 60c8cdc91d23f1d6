"""What the quality gates said, from ``reports/quality/<gate>.json``."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.report.errors import ReportInputError
from components.report.figures.figures import read_json


@dataclass(frozen=True)
class CheckedKind:
    """One kind of rows (products, queries, ...) at a gate; None where the gate does not say."""

    name: str
    rows: int | None
    quarantined: int | None


@dataclass(frozen=True)
class GateSummary:
    """One gate: whether it passed, what it checked, and why it set rows aside, most frequent reason first."""

    gate: str
    passed: bool
    kinds: tuple[CheckedKind, ...]
    reasons: tuple[tuple[str, int], ...]


def read_gate(folder: Path, gate: str) -> GateSummary:
    """Read ``{"passed": bool, "kinds": {kind: {"rows", "quarantined", "reasons": {text: count}}}}``.

    Only ``passed`` is needed; other keys may be there.

    Raises:
        ReportInputError: the file is missing, is not JSON, or does not say whether the gate passed.
    """
    path = folder / f"{gate}.json"
    loaded = read_json(path)
    if not isinstance(loaded.get("passed"), bool):
        raise ReportInputError(f"{path} does not say whether the gate passed ('passed': true or false).")
    kinds: list[CheckedKind] = []
    reasons: Counter[str] = Counter()
    for name, kind in _mapping(loaded.get("kinds")).items():
        said = _mapping(kind)
        kinds.append(CheckedKind(name, _count(said.get("rows")), _count(said.get("quarantined"))))
        for reason, count in _mapping(said.get("reasons")).items():
            reasons[reason] += _count(count) or 0
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return GateSummary(gate, loaded["passed"], tuple(kinds), tuple(ordered))


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
