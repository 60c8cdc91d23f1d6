"""What names mean, for readers who did not write them: the words of ``glossary.yaml``.

A name that is not there (a study's row, an attribute of somebody's catalogue) is shown without explanation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from components.report.figures.figures import Figures
from components.stage.params import read_yaml

_WORDS: dict[str, Any] = read_yaml(Path(__file__).with_name("glossary.yaml"))
SYSTEMS: dict[str, str] = _WORDS["systems"]
VARIANTS: dict[str, dict[str, list[str]]] = _WORDS["variants"]  # system -> row -> its name, what it is
MEASURES: dict[str, list[str]] = _WORDS["measures"]  # part of a metric's name -> name, meaning
STAGES: dict[str, str] = _WORDS["stages"]
KINDS: dict[str, str] = _WORDS["kinds"]
GATES: dict[str, str] = _WORDS["gates"]


def in_order(figures: Figures, first: str) -> Figures:
    """The figures with ``first`` before its other variants: as in VARIANTS, then the rest as they come."""
    known = list(VARIANTS.get(figures.system, {}))

    def _place(name: str) -> tuple[bool, int]:
        return name != first, known.index(name) if name in known else len(known)

    return replace(
        figures, variants={name: figures.variants[name] for name in sorted(figures.variants, key=_place)}
    )


def measures(metrics: Iterable[str]) -> list[list[str]]:
    """(name, meaning) of every measure and slice that the names of ``metrics`` hold, in their first order."""
    names = [f"_{metric}_" for metric in metrics]
    found = []
    for word, entry in MEASURES.items():
        held = [name for name in names if f"_{word}_" in name]
        if word in ("recall", "precision"):  # recall_at_100 is explained by itself
            held = [name for name in held if f"_{word}_at_" not in name]
        found += [entry] if held else []
    return found


def label(system: str, variant: str) -> str:
    """What a row is called: words, or its own name without underscores."""
    named = VARIANTS.get(system, {}).get(variant)
    return named[0] if named else variant.replace("_", " ")


def meaning(metric: str) -> str:
    """What one metric means, its slices in brackets; empty where none of its words is known."""
    cut = re.search(r"_at_(\d+)", metric)
    found = [text.replace("first k", f"first {cut[1]}") if cut else text for _, text in measures([metric])]
    return f"{found[0]} ({'; '.join(found[1:])})" if found[1:] else "".join(found)
