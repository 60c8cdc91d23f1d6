"""Compare two or more runs, models, profiles or commits: what differs, by how much, and where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from components.stage.record import Interval
from components.tracking.compare.catalogue import Products, placed, read_products
from components.tracking.compare.gallery import Gallery, gallery
from components.tracking.compare.paired import Paired, PairedDifference, PairedValues, paired_rows, tests_of
from components.tracking.compare.per_query import System, read_results
from components.tracking.compare.seeds import SeedGroup, grouped
from components.tracking.compare.sides import Key, Side, side_of
from components.tracking.errors import OtherCatalogueError, TrackingError, UnknownReferenceError
from components.tracking.lineage.revision import git, resolve_commit
from components.tracking.params import Headline
from components.tracking.publish.datasets import CHECKED
from components.tracking.publish.publish import tracking_params

EXAMPLES = 4  # of queries won, and of queries lost, a gallery
GALLERIES = 8  # at most, the largest differences first
ASKED = ("", "queries", "titles")  # tasks that a shopper or a seller sets
STUDY = "study_"  # tables that repeat systems with other settings
SHOWN = 10  # characters of a commit
# Folders are told as deep as a component's room; what no stage reads is told as a whole.
DEPTH = {"components": 3}


@dataclass(frozen=True)
class Change:
    """A name whose value differs; None where a side does not have it."""

    name: str
    values: tuple[str | None, ...]


@dataclass(frozen=True)
class FigureRow:
    """One figure on every side; ``spreads`` are least and greatest over seeds."""

    table: str
    variant: str
    metric: str
    figures: tuple[Interval | None, ...]
    tests: tuple[PairedDifference | None, ...] = ()  # against the first side
    spreads: tuple[tuple[float, float] | None, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether any side has another figure than the first one."""
        return any(figure != self.figures[0] for figure in self.figures)


@dataclass
class Comparison:
    """What differs between the sides; the first one is the reference. ``notes`` say what is missing."""

    groups: list[SeedGroup]
    commits: list[str]
    forced: bool = False  # the sides are of different catalogues, and somebody wanted that
    parameters: list[Change] = field(default_factory=list)
    data: list[Change] = field(default_factory=list)
    code: list[Change] = field(default_factory=list)
    rows: list[FigureRow] = field(default_factory=list)
    tests: list[PairedDifference] = field(default_factory=list)
    galleries: list[Gallery] = field(default_factory=list)
    headline: dict[str, Headline] = field(default_factory=dict)  # table -> which figures come first
    products: dict[str, Products] = field(default_factory=dict)  # group -> what its galleries show
    notes: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The columns, the reference first."""
        return [group.name for group in self.groups]

    def as_json(self) -> dict[str, Any]:
        """Plain values for ``--json``: everything but the pictures."""
        facts = ("name", "kind", "catalogue", "commit", "dirty", "queries", "runs")
        sides = []
        for group, commit in zip(self.groups, self.commits, strict=True):
            members = [{fact: getattr(side, fact) for fact in facts} for side in group.members]
            digest = group.first.data.get(CHECKED, "")
            sides.append({"name": group.name, "code": commit, CHECKED: digest, "members": members})
        parts = {part: [asdict(o) for o in getattr(self, part)] for part in ("parameters", "data", "code")}
        return {
            "sides": sides,
            "different_catalogues": self.forced,
            **parts,
            "figures": [_plain(row) for row in self.rows],
            "tests": [{**asdict(test), "verdict": test.verdict} for test in self.tests],
            "galleries": [asdict(one) for one in self.galleries],
            "notes": self.notes,
        }


def _plain(row: FigureRow) -> dict[str, Any]:
    figures = [figure.model_dump() if figure else None for figure in row.figures]
    names = {"table": row.table, "variant": row.variant, "metric": row.metric}
    return {**names, "figures": figures, "seeds": list(row.spreads)}


@dataclass(frozen=True)
class Wanted:
    """How to compare: ``paired`` is the test of differences; without it there are none."""

    paired: Paired | None = None
    force: bool = False  # compare different catalogues, and mark it
    apart: bool = False  # keep sides that differ in seeds alone apart


def compare(root: Path, names: Sequence[str], wanted: Wanted = Wanted()) -> Comparison:
    """Compare what ``names`` mean (``components.tracking.compare.sides.side_of``) with the first of them.

    Raises:
        UnknownReferenceError: fewer than two names, or one that is not known here.
        OtherCatalogueError: the sides are of different catalogues, and ``force`` was not given.
        TrackerUnavailableError: a run or model is meant, and the store does not answer.
    """
    if len(names) < 2:
        raise UnknownReferenceError("Name two sides or more: runs, models, profiles, commits, or . (here).")
    root = root.resolve()
    return compared(root, [side_of(root, name) for name in names], wanted)


def compared(root: Path, sides: Sequence[Side], wanted: Wanted) -> Comparison:
    """The comparison of sides; errors as in ``compare``."""
    other = _of_other_catalogue(sides)
    if other and not wanted.force:
        raise OtherCatalogueError(
            f"{sides[0].name} and {other.name} are of different catalogues ({_catalogue(sides[0])} and "
            f"{_catalogue(other)}): their figures do not answer the same questions. --force compares them "
            "all the same, and marks it."
        )
    groups = grouped(sides, [read_results(side.per_query) for side in sides], wanted.apart)
    firsts = [group.first for group in groups]
    found = Comparison(groups, [commit_line(root, side) for side in firsts], forced=bool(other))
    found.notes += [note for side in sides for note in side.notes]
    found.parameters = _parameters(found, firsts)
    found.data = changes([side.data for side in firsts])
    found.code = [Change(k, tuple(v)) for k, v in changed_folders(root, firsts).items()]
    pairs = list(_pairs(found))
    if wanted.paired:
        for pair in pairs:
            found.tests += tests_of(pair, wanted.paired, slices=not pair.system.table.startswith(STUDY))
    found.rows = _rows(groups, found.tests)
    if not found.rows:
        found.notes.append("No side has figures here (dvc pull fetches committed ones).")
    found.headline = tracking_params(root).headline
    _choose(found, pairs)
    return found


def _parameters(found: Comparison, sides: Sequence[Side]) -> list[Change]:
    """Parameters that differ, of blocks that stages of every side have read; others are noted."""
    blocks = [{name.partition(".")[0] for name in side.parameters} for side in sides]
    shared = set.intersection(*blocks)
    if lacking := sorted(set.union(*blocks) - shared):
        found.notes.append(f"Parameters of {', '.join(lacking)} are left out: not every side has run that.")
    rows = [r for r in changes([side.parameters for side in sides]) if r.name.partition(".")[0] in shared]
    return sorted(rows, key=lambda row: None in row.values)  # what every side states comes first


def changes(values: Sequence[Mapping[str, str]]) -> list[Change]:
    """The names whose value is not the same on all sides."""
    names = sorted({name for side in values for name in side})
    rows = (Change(name, tuple(side.get(name) for side in values)) for name in names)
    return [row for row in rows if len(set(row.values)) > 1]


def _of_other_catalogue(sides: Sequence[Side]) -> Side | None:
    """The first side of another catalogue than the first: other products, and of another profile."""
    a = sides[0]
    for b in sides[1:]:
        hashes = a.data.get(CHECKED), b.data.get(CHECKED)
        same = hashes[0] == hashes[1] and hashes[0] is not None
        if not same and a.catalogue and b.catalogue and a.catalogue != b.catalogue:
            return b
    return None


def _catalogue(side: Side) -> str:
    return f"'{side.catalogue}', {CHECKED} {side.data.get(CHECKED, 'unknown')[:10]}"


def _pairs(found: Comparison) -> Any:
    """Every system that the reference and another side have measured on the same rows."""
    reference = found.groups[0]
    for group in found.groups:
        found.products[group.name] = read_products(group.first.products)
    for group in found.groups:
        if not group.results:
            found.notes.append(f"{group.name} has no per-query results here (dvc pull fetches them).")
    for result in reference.results.values():
        placed(result, found.products[reference.name])
    for other in found.groups[1:]:
        same = bool(reference.first.queries) and reference.first.queries == other.first.queries
        held = {group.first.product_file("qrels.parquet") for group in (reference, other)}
        if same and len(held) > 1:
            found.notes.append(f"{other.name} has other judgements (qrels) of the same queries.")
        yield from paired_rows(other.name, reference.results, other.results, same, found.notes)


def _rows(groups: Sequence[SeedGroup], tests: Sequence[PairedDifference]) -> list[FigureRow]:
    whole: dict[tuple[Key, str], PairedDifference] = {}
    for test in tests:
        if not test.slice:
            figure = System(test.table, test.variant, test.task).figure(test.metric)
            whole[(test.table, test.variant, figure), test.side] = test
    keys = sorted({key for group in groups for side in group.members for key in side.metrics})
    rows = []
    for key in keys:
        figures = tuple(group.figure(key) for group in groups)
        against = tuple(whole.get((key, group.name)) for group in groups[1:])
        rows.append(FigureRow(*key, figures, against, tuple(group.spread(key) for group in groups)))
    return rows


def _choose(found: Comparison, pairs: Sequence[PairedValues]) -> None:
    """Galleries: of each evaluation and task the system of the headline, else the one that differs most.

    Searches and listings come before questions about attributes and boxes.
    """
    best: dict[tuple[str, str, str], tuple[tuple[bool, float], PairedValues, str]] = {}
    for pair in pairs:
        metrics = pair.metrics()
        if pair.system.table.startswith(STUDY) or not metrics:
            continue
        gain = pair.gain(metrics[0])
        size = float(abs(gain[gain == gain]).mean()) if (gain == gain).any() else 0.0
        where = (pair.side, pair.system.table, pair.system.task)
        shown = found.headline.get(pair.system.table)
        rank = (shown is not None and shown.variant == pair.system.variant, size)
        if size and (where not in best or rank > best[where][0]):
            best[where] = (rank, pair, metrics[0])
    chosen = sorted(best.values(), key=lambda one: (one[1].system.task not in ASKED, -one[0][1]))[:GALLERIES]
    for _, pair, metric in chosen:
        products = [found.products[found.names[0]], found.products[pair.side]]
        found.galleries.append(gallery(pair, metric, EXAMPLES, products))


def unchanged(found: Comparison) -> tuple[int, int]:
    """Systems that answered every row alike on all sides, and all systems that were tested."""
    tested: dict[tuple[str, str, str], bool] = {}
    for test in found.tests:
        if not test.slice:
            key = (test.table, test.variant, test.task)
            tested[key] = tested.get(key, True) and test.won == test.lost == 0
    return sum(tested.values()), len(tested)


def commit_line(root: Path, side: Side) -> str:
    """``1a2b3c4d5e Subject of the commit, with uncommitted changes``."""
    if not side.commit:
        return "unknown"
    dirty = ", with uncommitted changes" if side.dirty else ""
    try:
        subject = git(root, "log", "-1", "--format=%s", side.commit).decode("utf-8", errors="replace").strip()
    except TrackingError:
        subject = "(of another clone: not in this repository)"
    return f"{side.commit[:SHOWN]} {subject}{dirty}"


def changed_folders(root: Path, sides: Sequence[Side]) -> dict[str, list[str | None]]:
    """Folder -> what changed in it on each side against the first, None for nothing.

    By git where both commits are here, else by the hashes that dvc.lock has of the code its stages run.
    """
    first, found = sides[0], dict[str, list[str | None]]()
    for place, side in enumerate(sides[1:], start=1):
        changes = _by_git(root, first, side)
        if changes is None:
            changes = _by_hash(first, side)
        for folder, what in changes.items():
            found.setdefault(folder, [None] * len(sides))[place] = what
    return dict(sorted(found.items()))


def _by_git(root: Path, a: Side, b: Side) -> dict[str, str] | None:
    if not all(side.commit and resolve_commit(root, side.commit) for side in (a, b)):
        return None
    options = ("--numstat", "--no-renames", "-z", a.commit, b.commit, "--", ":!docs", ":!results")
    try:
        told = git(root, "diff", *options)
    except TrackingError:
        return None
    files, plus, minus = Counter[str](), Counter[str](), Counter[str]()
    for line in filter(None, told.decode("utf-8", errors="replace").split("\0")):
        added, removed, path = line.split("\t", 2)
        if path.startswith(("metrics/", "tests/")) or path.endswith("dvc.lock"):
            continue
        folder = _folder(path)
        files[folder] += 1
        plus[folder] += int(added) if added.isdigit() else 0
        minus[folder] += int(removed) if removed.isdigit() else 0
    return {name: f"+{plus[name]:,} −{minus[name]:,} lines, files: {count}" for name, count in files.items()}


def _folder(path: str) -> str:
    parts = path.split("/")
    return "/".join(parts[: min(len(parts) - 1, DEPTH.get(parts[0], 1))]) or path


def _by_hash(a: Side, b: Side) -> dict[str, str]:
    """By the code that stages of both sides read."""
    shared = a.code.keys() & b.code.keys()
    return {path: "differs" for path in sorted(shared) if a.code[path] != b.code[path]}
