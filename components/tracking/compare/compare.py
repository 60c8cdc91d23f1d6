"""Compare two or more runs, models, profiles or commits: what differs, by how much, and where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from components.stage.record import Interval
from components.tracking.compare.catalogue import Products, placed, read_products
from components.tracking.compare.gallery import Gallery, gallery
from components.tracking.compare.paired import Paired, PairedDifference, PairedValues, paired_rows, tests_of
from components.tracking.compare.per_query import Results, System, mean_over, read_results
from components.tracking.compare.recorded import side_of
from components.tracking.compare.sides import Key, Side
from components.tracking.errors import OtherCatalogueError, TrackingError, UnknownReferenceError
from components.tracking.lineage.revision import git, resolve_commit
from components.tracking.params import Headline
from components.tracking.publish.datasets import CHECKED
from components.tracking.publish.runs import tracking_params

EXAMPLES = 4  # of queries won, and of queries lost, a gallery
GALLERIES = 8  # at most, the largest differences first
ASKED = ("", "queries", "titles")  # tasks that a shopper or a seller sets
STUDY = "study_"  # tables that repeat systems with other settings
SHOWN = 10  # characters of a commit
# Folders are told as deep as a component's room; what no stage reads is told as a whole.
DEPTH = {"components": 3}
UNTOLD = ("metrics/", "tests/")  # of code that changed


@dataclass(frozen=True)
class SeedGroup:
    """One column of a comparison: a side, or several that differ in nothing but their seeds."""

    name: str
    members: tuple[Side, ...]
    results: dict[System, Results]

    @property
    def first(self) -> Side:
        """The side that stands for the group where seeds make no difference."""
        return self.members[0]

    def figure(self, key: Key) -> Interval | None:
        """The figure; of several seeds their mean, with the mean of their bounds.

        The seeds answer the same queries, so their errors are not independent: the mean bounds are those of
        errors that agree wholly, the widest there can be.
        """
        found = [side.metrics[key] for side in self.members if key in side.metrics]
        if len(found) < len(self.members):
            return None
        means: dict[str, Any] = {}
        for name in ("value", "low", "high"):
            values = [getattr(one, name) for one in found]
            means[name] = None if None in values else sum(values) / len(values)
        return Interval(n=found[0].n, **means)

    def spread(self, key: Key) -> tuple[float, float] | None:
        """Least and greatest of the seeds' values; None for a single side."""
        values = [side.metrics[key].value for side in self.members if key in side.metrics]
        return (min(values), max(values)) if len(self.members) > 1 and values else None


def _grouped(sides: Sequence[Side], results: Sequence[dict[System, Results]], apart: bool) -> list[SeedGroup]:
    """Sides of the same parameters but for seeds, code and catalogue as one group, in order of the first.

    Where all sides would be one group there is nothing to compare them with, and the same seed twice is no
    second seed: then they stay apart; ``apart`` keeps them so too, and so does a lack of parameters.
    """
    kinds: dict[object, list[int]] = {}
    seeds: list[frozenset[tuple[str, str]]] = []
    for place, side in enumerate(sides):
        own = frozenset((k, v) for k, v in side.parameters.items() if k.rpartition(".")[2] == "seed")
        fixed = frozenset(side.parameters.items()) - own, frozenset(side.code.items())
        alike = (*fixed, side.commit, side.data.get(CHECKED, ""))
        kinds.setdefault(alike if own and not apart else place, []).append(place)
        seeds.append(own)
    if len(kinds) == 1 or any(len({seeds[i] for i in places}) < len(places) for places in kinds.values()):
        kinds = {place: [place] for place in range(len(sides))}
    groups = []
    for places in kinds.values():
        first, found, name = sides[places[0]], results[places[0]], sides[places[0]].name
        if len(places) > 1:
            name = f"{first.name} (mean of {len(places)} seeds)"
            shared = set.intersection(*(set(results[i]) for i in places))
            found = {system: mean_over([results[i][system] for i in places]) for system in shared}
        groups.append(SeedGroup(name, tuple(sides[i] for i in places), found))
    return groups


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

    @property
    def letters(self) -> list[str]:
        """What the sides are called in heads of columns: A for the reference, B, C."""
        return [chr(ord("A") + i) if i < 26 else str(i + 1) for i in range(len(self.groups))]

    def telling(self) -> list[FigureRow]:
        """Rows that differ, studies apart: those with a test, surest and largest first, then the others.

        Of the others the headline of each evaluation comes first.
        """

        def _order(row: FigureRow) -> tuple[bool, bool, float]:
            if tests := [test for test in row.tests if test]:
                unclear = all(test.verdict == "unclear" for test in tests)
                return False, unclear, -max(abs(test.difference) for test in tests)
            shown = self.headline.get(row.table)
            if shown is None or row.metric not in shown.metrics:
                return True, True, float("inf")
            return True, row.variant != shown.variant, shown.metrics.index(row.metric)

        return sorted((r for r in self.rows if r.differs and not r.table.startswith(STUDY)), key=_order)

    def unchanged(self) -> tuple[int, int]:
        """Systems that answered every row alike on all sides, and all systems that were tested."""
        tested: dict[tuple[str, str, str], bool] = {}
        for test in self.tests:
            key = (test.table, test.variant, test.task)
            if not test.slice:
                tested[key] = tested.get(key, True) and test.won == test.lost == 0
        return sum(tested.values()), len(tested)

    def as_json(self) -> dict[str, Any]:
        """Plain values for ``--json``: everything but the pictures."""
        facts = ("name", "kind", "catalogue", "commit", "dirty", "queries", "runs")
        sides = []
        for group, commit in zip(self.groups, self.commits, strict=True):
            members = [{fact: getattr(side, fact) for fact in facts} for side in group.members]
            digest = group.first.data.get(CHECKED, "")
            sides.append({"name": group.name, "code": commit, CHECKED: digest, "members": members})
        figures = [
            {"table": row.table, "variant": row.variant, "metric": row.metric}
            | {"figures": [one.model_dump() if one else None for one in row.figures]}
            | {"seeds": list(row.spreads)}
            for row in self.rows
        ]
        parts = {part: [asdict(o) for o in getattr(self, part)] for part in ("parameters", "data", "code")}
        return {
            "sides": sides,
            "different_catalogues": self.forced,
            **parts,
            "figures": figures,
            "tests": [{**asdict(test), "verdict": test.verdict} for test in self.tests],
            "galleries": [asdict(one) for one in self.galleries],
            "notes": self.notes,
        }


@dataclass(frozen=True)
class Wanted:
    """How to compare: ``paired`` is the test of differences; without it there are none."""

    paired: Paired | None = None
    force: bool = False  # compare different catalogues, and mark it
    apart: bool = False  # keep sides that differ in seeds alone apart


def compare(root: Path, names: Sequence[str], wanted: Wanted = Wanted()) -> Comparison:
    """Compare what ``names`` mean (``components.tracking.compare.recorded.side_of``) with the first of them.

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
        which = " and ".join(
            f"'{side.catalogue}', {CHECKED} {side.data.get(CHECKED, 'unknown')[:10]}"
            for side in (sides[0], other)
        )
        raise OtherCatalogueError(
            f"{sides[0].name} and {other.name} are of different catalogues ({which}): their figures do not "
            "answer the same questions. --force compares them all the same, and marks it."
        )
    groups = _grouped(sides, [read_results(side.per_query) for side in sides], wanted.apart)
    firsts = [group.first for group in groups]
    found = Comparison(groups, [_commit_line(root, side) for side in firsts], forced=bool(other))
    found.notes += [note for side in sides for note in side.notes]
    found.parameters = _parameters(found, firsts)
    found.data = _changes([side.data for side in firsts])
    found.code = _changed_folders(root, firsts)
    pairs = list(_pairs(found))
    for pair in pairs if wanted.paired else ():
        assert wanted.paired
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
    rows = [r for r in _changes([side.parameters for side in sides]) if r.name.partition(".")[0] in shared]
    return sorted(rows, key=lambda row: None in row.values)  # what every side states comes first


def _changes(values: Sequence[Mapping[str, str]]) -> list[Change]:
    """The names whose value is not the same on all sides."""
    names = sorted({name for side in values for name in side})
    rows = (Change(name, tuple(side.get(name) for side in values)) for name in names)
    return [row for row in rows if len(set(row.values)) > 1]


def _of_other_catalogue(sides: Sequence[Side]) -> Side | None:
    """The first side of another catalogue than the first: other products, and of another profile."""
    a = sides[0]
    for b in sides[1:]:
        same = a.data.get(CHECKED) == b.data.get(CHECKED) is not None
        if not same and a.catalogue and b.catalogue and a.catalogue != b.catalogue:
            return b
    return None


def _pairs(found: Comparison) -> Iterator[PairedValues]:
    """Every system that the reference and another side have measured on the same rows."""
    reference = found.groups[0]
    for group in found.groups:
        found.products[group.name] = read_products(group.first.products)
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
    whole = {((t.table, t.variant, t.figure), t.side): t for t in tests if not t.slice}
    rows = []
    for key in sorted({key for group in groups for side in group.members for key in side.metrics}):
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


def _commit_line(root: Path, side: Side) -> str:
    """``1a2b3c4d5e Subject of the commit, with uncommitted changes``."""
    if not side.commit:
        return "unknown"
    try:
        subject = git(root, "log", "-1", "--format=%s", side.commit).decode("utf-8", errors="replace").strip()
    except TrackingError:
        subject = "(of another clone: not in this repository)"
    return f"{side.commit[:SHOWN]} {subject}{', with uncommitted changes' if side.dirty else ''}"


def _changed_folders(root: Path, sides: Sequence[Side]) -> list[Change]:
    """Folders and what changed in them on each side against the first, None for nothing.

    By git where both commits are here, else by the hashes that dvc.lock has of the code that stages of both
    sides run.
    """
    first, told = sides[0], list[dict[str, str]]()
    for side in sides[1:]:
        changes = _by_git(root, first, side)
        if changes is None:
            shared = first.code.keys() & side.code.keys()
            changes = {path: "differs" for path in shared if first.code[path] != side.code[path]}
        told.append(changes)
    folders = sorted({folder for changes in told for folder in changes})
    return [Change(folder, (None, *(changes.get(folder) for changes in told))) for folder in folders]


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
        if path.startswith(UNTOLD) or path.endswith("dvc.lock"):
            continue
        parts = path.split("/")
        folder = "/".join(parts[: min(len(parts) - 1, DEPTH.get(parts[0], 1))]) or path
        files[folder] += 1
        plus[folder] += int(added) if added.isdigit() else 0
        minus[folder] += int(removed) if removed.isdigit() else 0
    return {name: f"+{plus[name]:,} −{minus[name]:,} lines, files: {count}" for name, count in files.items()}
