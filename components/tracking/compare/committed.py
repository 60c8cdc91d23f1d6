"""``vitrine verify``: are the figures and outputs of this workspace those that were committed?

The same commit, parameters, data and machine give the same bytes. Another machine may round differently:
then a figure counts as the same while it lies within the 95% interval that was committed with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from components.stage.errors import InvalidDataError
from components.tracking.compare.sides import figures_in, lock_at
from components.tracking.errors import UnknownReferenceError
from components.tracking.lineage.lockfile import LockEntry, read_lock
from components.tracking.lineage.revision import file_at, files_at, resolve_commit

Verdict = Literal["within", "outside", "missing", "new", "no interval"]
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
        figures = [{**vars(figure), "change": figure.change} for figure in self.figures]
        return asdict(self) | {"identical": self.identical, "within": not self.wrong, "figures": figures}


def verify(root: Path, revision: str = "HEAD") -> Verification:
    """Compare ``metrics/*.json`` and the entries of dvc.lock with those of a commit.

    Raises UnknownReferenceError: there is no such commit, or it holds no metrics; InvalidDataError: a file of
    metrics or a dvc.lock cannot be read.
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
    figures = [one for name in files for one in _differences(name, theirs.get(name), ours.get(name))]
    lock, here, nothing = lock_at(root, commit), read_lock(root), LockEntry()
    outputs: dict[str, tuple[str, ...]] = {}
    inputs: dict[str, tuple[str, ...]] = {}
    for stage in sorted({*lock, *here}):
        old, new = lock.get(stage, nothing), here.get(stage, nothing)
        for differing, facts in ((outputs, _outputs), (inputs, _inputs)):
            before, now = facts(old), facts(new)
            if changed := sorted(key for key in {*before, *now} if before.get(key) != now.get(key)):
                differing[stage] = tuple(changed)
    return Verification(commit, tuple(files), tuple(figures), outputs, inputs)


def _differences(name: str, committed: str | None, found: str | None) -> list[CommittedDifference]:
    """Figures of one file that differ."""
    try:
        theirs, ours = figures_in(committed or "{}"), figures_in(found or "{}")
    except ValueError as error:
        raise InvalidDataError(f"{name} is not valid JSON ({error}); run its stage again.") from None
    differ = []
    for key in dict.fromkeys([*theirs, *ours]):
        old, new = theirs.get(key), ours.get(key)
        before, now = (cell.value if cell else None for cell in (old, new))
        if before != now or (key in theirs) != (key in ours):
            low, high = (old.low, old.high) if old else (None, None)
            verdict = verdict_of(now, low, high) if key in theirs else "new"
            differ.append(CommittedDifference(name, *key, before, now, low, high, verdict))
    return differ


def verdict_of(found: float | None, low: float | None, high: float | None) -> Verdict:
    """What another figure amounts to; one that could once be computed and now cannot is missing."""
    if found is None:
        return "missing"
    if low is None or high is None:
        return "no interval"
    return "within" if low <= found <= high else "outside"


def _outputs(entry: LockEntry) -> dict[str, Any]:
    return {out.path: out.md5 for out in entry.outs}


def _inputs(entry: LockEntry) -> dict[str, Any]:
    values = {f"{file}: {key}": v for file, keys in entry.params.items() for key, v in (keys or {}).items()}
    return {"command": entry.cmd, **{dep.path: dep.md5 for dep in entry.deps}, **values}


def print_verification(console: Console, found: Verification) -> None:
    """Say what is the same and what is not."""
    parts = (("outputs differ", found.outputs), ("computed from other inputs", found.inputs))
    said = [f"{s}: {name}: {', '.join(paths)}" for name, stages in parts for s, paths in stages.items()]
    for one in found.figures:
        interval = f" [{one.low:.4f}, {one.high:.4f}]" if one.low is not None else ""
        numbers = ((one.committed, ".4f"), (one.found, ".4f"), (one.change, "+.2e"))
        committed, now, change = ("-" if value is None else f"{value:{form}}" for value, form in numbers)
        where = f"{Path(one.file).stem}.{one.variant}.{one.metric}"
        said.append(f"{where}: {committed}{interval} -> {now} ({change}): {one.verdict}")
    for text in [*said, _conclusion(found)]:
        console.print(text, highlight=False, markup=False, soft_wrap=True)


def _conclusion(found: Verification) -> str:
    commit, verdicts = found.commit[:10], [figure.verdict for figure in found.figures]
    if found.identical:
        return f"Bit-identical: every figure and every output is that of commit {commit}."
    if wrong := len(found.wrong):
        return f"NOT the same as commit {commit}: {wrong} figures are missing or outside of their interval."
    unknown, judged = verdicts.count("no interval"), verdicts.count("within")
    rest = f"; {unknown} more differ and have no interval to judge them by" if unknown else ""
    return (
        f"The same as commit {commit} within the intervals: {judged} figures differ, none lies outside{rest}."
    )
