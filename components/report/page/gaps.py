"""What a run could not give, and the parameters of a page that does without it.

Stages that a catalogue cannot feed left a note in the place of their outputs; stages of a run that failed, or
were not begun, are named by the runner. A claim about a measure that no row has, such as boxes where no true
box is known, is left out and said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from components.report.figures.figures import Figures, metric_label, read_figures, system_label
from components.report.params import Claim, ReportParams
from components.report.text import glossary
from components.stage.left_out import reason_in
from components.stage.paths import Paths

SMALL = 1_000  # products; figures of fewer say little


@dataclass(frozen=True)
class Gaps:
    """What is there (``params``, ``figures``), and in sentences what is not."""

    params: ReportParams
    figures: dict[str, Figures]
    notes: list[str]


class Absent:
    """Tells which outputs are not there: by the notes that stages left, and by what the runner knows.

    Args:
        known: output, as the graph names it -> why it is missing or outdated.
    """

    def __init__(self, known: Mapping[str, str]) -> None:
        self.known = known

    def why(self, path: Path) -> str:
        """The reason, or nothing."""
        inside = [path, *path.parents]
        told = next((self.known[p.as_posix()] for p in inside if p.as_posix() in self.known), "")
        return told or next(filter(None, (reason_in(p) for p in (path, path.parent))), "")


def without_gaps(paths: Paths, params: ReportParams, absent: Absent) -> Gaps:
    """Read the figures that are there, and take from ``params`` what only stands on others.

    Raises:
        ReportInputError: a metrics file is missing without a reason, or broken.
    """
    files = {system: paths.metrics / f"{system}.json" for system in params.systems}
    left = {system: why for system, file in files.items() if (why := absent.why(file))}
    figures = {name: read_figures(file, name) for name, file in files.items() if name not in left}
    claims = [claim for claim in params.claims if claim.system in figures]
    untold = [
        claim
        for claim in claims
        if not all(
            _measured(figures[claim.system], side, claim.metric) for side in (claim.ours, claim.baseline)
        )
    ]
    sources = {name: source.split(".", 2) for name, source in params.headline.items()}
    retrieval = {
        name: success
        for name, success in params.retrieval.systems.items()
        if name in figures and not absent.why(paths.per_query / name)
    }
    shown = {
        folder: variant
        for folder, variant in params.grounding.variants.items()
        if not absent.why(paths.per_query / folder)
    }
    boxes = params.grounding.unjudged if not absent.why(paths.grounding) else 0
    listings, gates = paths.per_query / "listing", params.gates
    changed = {
        "systems": {name: subject for name, subject in params.systems.items() if name in figures},
        "claims": [claim for claim in claims if claim not in untold],
        "headline": {
            name: params.headline[name]
            for name, (system, variant, metric) in sources.items()
            if system in figures and _measured(figures[system], variant, metric)
        },
        "curves": [each for each in params.curves if not absent.why(paths.plots / f"{each}.csv")],
        "quality": [each for each in params.quality if not absent.why(paths.quality / f"{each}.json")],
        "retrieval": params.retrieval.model_copy(update={"systems": retrieval}),
        "grounding": params.grounding.model_copy(update={"variants": shown, "unjudged": boxes}),
        "listings": None if absent.why(listings) else params.listings,
        "gates": None if gates and absent.why(paths.per_query / gates.system) else gates,
    }
    notes = [*_systems(left), *_claims(untold)]
    return Gaps(params.model_copy(update=changed), figures, notes)


def _measured(figures: Figures, variant: str, metric: str) -> bool:
    """Whether there is such a row and such a measure; a row of no system is a mistake, and told later."""
    known = variant in glossary.VARIANTS.get(figures.system, {})
    return metric in figures.metrics and (variant in figures.variants or not known)


def _systems(left: Mapping[str, str]) -> list[str]:
    """A sentence for each reason, with the systems that it keeps out."""
    by_reason: dict[str, list[str]] = {}
    for system, why in left.items():
        by_reason.setdefault(why, []).append(system_label(system))
    return [f"{' and '.join(names)}: {why}" for why, names in by_reason.items()]


def _claims(untold: Iterable[Claim]) -> list[str]:
    """A sentence for each measure that claims rest on and that these data do not give."""
    measures = dict.fromkeys((claim.system, claim.metric, claim.ours, claim.baseline) for claim in untold)
    return [
        f"{system_label(system)}: the data of this catalogue give no {metric_label(metric)} of "
        f"{glossary.label(system, ours)} and {glossary.label(system, baseline)}, so nothing is claimed of it."
        for system, metric, ours, baseline in measures
    ]
