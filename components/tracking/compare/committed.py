"""``vitrine verify``: are the figures and outputs of this workspace those that were committed?

The same commit, parameters, data and machine give the same bytes. Another machine may round differently:
then a figure counts as the same while it lies within the 95% interval that was committed with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from components.stage.errors import InvalidDataError
from components.stage.record import Interval
from components.tracking.compare.sides import figures_in
from components.tracking.errors import UnknownReferenceError
from components.tracking.lineage.lockfile import LOCK_FILES, LockEntry, parse_lock, read_lock
from components.tracking.lineage.revision import file_at, files_at, resolve_commit

Verdict = Literal["within", "outside", "missing", "new", "no interval"]
Cells = Mapping[tuple[str, str], Interval | None]  # (variant, metric) -> figure, None for no number
WRONG: tuple[Verdict, ...] = ("outside", "missing")


@dataclass(frozen=True)
class CommittedDifference:
    """A figure that is not what was committed; ``low`` and ``high`` are the committed interval."""

    file: str
    variant: str
    metric: str
    committed: float | None
    found: float | None
    low: float | None
    high: float | None
    verdict: Verdict

    @property
    def change(self) -> float | None:
        """Found minus committed."""
        return None if self.committed is None or self.found is None else self.found - self.committed


@dataclass(frozen=True)
class Verification:
    """What differs from a commit: files of metrics, figures, and outputs and inputs by stage."""

    commit: str
    files: tuple[str, ...]
    figures: tuple[CommittedDifference, ...]
    outputs: Mapping[str, tuple[str, ...]]
    inputs: Mapping[str, tuple[str, ...]]

    @property
    def identical(self) -> bool:
        """Whether every file of metrics and every output is the same, bit by bit."""
        return not self.files and not self.outputs

    @property
    def wrong(self) -> tuple[CommittedDifference, ...]:
        """Figures outside of their interval, or gone."""
        return tuple(figure for figure in self.figures if figure.verdict in WRONG)

    def as_dict(self) -> dict[str, Any]:
        """As JSON: each figure with its change, and the stages whose inputs or outputs differ."""
        return {
            "commit": self.commit,
            "identical": self.identical,
            "within": not self.wrong,
            "files": list(self.files),
            "figures": [{**vars(figure), "change": figure.change} for figure in self.figures],
            "outputs": {stage: list(paths) for stage, paths in self.outputs.items()},
            "inputs": {stage: list(paths) for stage, paths in self.inputs.items()},
        }


def verify(root: Path, revision: str = "HEAD") -> Verification:
    """Compare ``metrics/*.json`` and the entries of dvc.lock with those of a commit.

    Raises:
        UnknownReferenceError: there is no such commit, or it holds no metrics.
        InvalidDataError: a file of metrics or a dvc.lock cannot be read.
    """
    commit = resolve_commit(root, revision)
    if commit is None:
        raise UnknownReferenceError(f"'{revision}' is no commit of {root.resolve()}; see 'git log'.")
    names = (name for name in files_at(root, commit, "metrics") if Path(name).match("metrics/*.json"))
    theirs = {name: file_at(root, commit, name) or "" for name in names}
    if not theirs:
        raise UnknownReferenceError(f"Commit {commit[:10]} holds no metrics/*.json to compare with.")
    ours = {f"metrics/{p.name}": p.read_text(encoding="utf-8") for p in (root / "metrics").glob("*.json")}
    files = sorted(name for name in {*theirs, *ours} if theirs.get(name) != ours.get(name))
    figures: list[CommittedDifference] = []
    for name in files:
        figures += _differences(name, _figures(name, theirs.get(name)), _figures(name, ours.get(name)))
    outputs, inputs = _entries(root, commit)
    return Verification(commit, tuple(files), tuple(figures), outputs, inputs)


def _figures(name: str, text: str | None) -> Cells:
    try:
        return figures_in(text or "{}")
    except ValueError as error:
        raise InvalidDataError(f"{name} is not valid JSON ({error}); run its stage again.") from None


def _differences(name: str, theirs: Cells, ours: Cells) -> Iterator[CommittedDifference]:
    """Figures of one file that differ."""
    for key in dict.fromkeys([*theirs, *ours]):
        old, new = theirs.get(key), ours.get(key)
        committed, found = (cell.value if cell else None for cell in (old, new))
        if committed != found or (key in theirs) != (key in ours):
            low, high = (old.low, old.high) if old else (None, None)
            verdict = verdict_of(found, low, high) if key in theirs else "new"
            yield CommittedDifference(name, *key, committed, found, low, high, verdict)


def verdict_of(found: float | None, low: float | None, high: float | None) -> Verdict:
    """What another figure amounts to; one that could once be computed and now cannot is missing."""
    if found is None:
        return "missing"
    if low is None or high is None:
        return "no interval"
    return "within" if low <= found <= high else "outside"


def _entries(root: Path, commit: str) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """Stage -> outputs whose hashes differ, and stage -> inputs, parameters or command that do."""
    ours, nothing = read_lock(root), LockEntry()
    theirs: dict[str, LockEntry] = {}
    for file, prefix in LOCK_FILES.items():
        entries = parse_lock(file_at(root, commit, file) or "", f"{file} of {commit[:10]}")
        theirs |= {prefix + name: entry for name, entry in entries.items()}
    outputs: dict[str, tuple[str, ...]] = {}
    inputs: dict[str, tuple[str, ...]] = {}
    for stage in sorted({*theirs, *ours}):
        old, new = theirs.get(stage, nothing), ours.get(stage, nothing)
        for found, facts in ((outputs, _outputs), (inputs, _inputs)):
            before, now = facts(old), facts(new)
            changed = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
            if changed:
                found[stage] = tuple(changed)
    return outputs, inputs


def _outputs(entry: LockEntry) -> dict[str, Any]:
    return {out.path: out.md5 for out in entry.outs}


def _inputs(entry: LockEntry) -> dict[str, Any]:
    values = {f"{file}: {key}": v for file, keys in entry.params.items() for key, v in (keys or {}).items()}
    return {"command": entry.cmd, **{dep.path: dep.md5 for dep in entry.deps}, **values}


def print_verification(console: Console, found: Verification) -> None:
    """Say what is the same and what is not."""

    def _say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    for name, stages in (("outputs differ", found.outputs), ("computed from other inputs", found.inputs)):
        for stage, paths in stages.items():
            _say(f"{stage}: {name}: {', '.join(paths)}")
    for figure in found.figures:
        interval = f" [{figure.low:.4f}, {figure.high:.4f}]" if figure.low is not None else ""
        committed, now, change = (
            "-" if value is None else f"{value:{form}}"
            for value, form in ((figure.committed, ".4f"), (figure.found, ".4f"), (figure.change, "+.2e"))
        )
        where = f"{Path(figure.file).stem}.{figure.variant}.{figure.metric}"
        _say(f"{where}: {committed}{interval} -> {now} ({change}): {figure.verdict}")
    _say(_conclusion(found))


def _conclusion(found: Verification) -> str:
    commit = found.commit[:10]
    if found.identical:
        return f"Bit-identical: every figure and every output is that of commit {commit}."
    if found.wrong:
        count = len(found.wrong)
        return f"NOT the same as commit {commit}: {count} figures are missing or outside of their interval."
    unknown = sum(figure.verdict == "no interval" for figure in found.figures)
    judged = sum(figure.verdict == "within" for figure in found.figures)
    rest = f"; {unknown} more differ and have no interval to judge them by" if unknown else ""
    return (
        f"The same as commit {commit} within the intervals: {judged} figures differ, none lies outside{rest}."
    )
