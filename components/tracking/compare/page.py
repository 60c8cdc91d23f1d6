"""A comparison as one self-contained page: no script, no outside address, everything in it as text."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.stage.files.pages import render_page
from components.stage.files.publish import write_text
from components.stage.record import lower_is_better
from components.tracking.compare.catalogue import pictures
from components.tracking.compare.compare import Comparison
from components.tracking.compare.paired import PairedDifference
from components.tracking.compare.view import around_difference

TEMPLATE = Path(__file__).parent / "page.jinja"
FOLDER = Path("reports") / "compare"
MAIN_ROWS = 20  # figures that are told at first sight
MOST_ROWS = 1200  # figures in the table of all; --json has every one
MOST_CHANGES = 400  # parameters or files
MOST_SLICES = 40
MOST_CHARS = 300  # of a value
STRIP = 120.0  # width of the drawn interval in its own units


def page_path(root: Path, found: Comparison) -> Path:
    """Where the page goes: a name that says who is compared, whatever signs their names have."""
    plain = "-".join(re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.") or "x" for name in found.names)[:60]
    mark = hashlib.sha256("\0".join(found.names).encode()).hexdigest()[:8]
    return root / FOLDER / f"{plain}-{mark}.html"


def write_page(found: Comparison, path: Path) -> None:
    """Write the page, self-contained, to a file."""
    write_text(path, render(found))


def render(found: Comparison) -> str:
    """The page as HTML."""
    every, main = [row for row in found.rows if row.differs], found.telling()
    bounds = [abs(x) for row in main[:MAIN_ROWS] for t in row.tests if t for x in (t.low, t.high)]
    slices = [test for test in found.tests if test.slice]
    shown: dict[str, set[str]] = {name: set() for name in found.names}
    for one in found.galleries:
        for place, name in enumerate((found.names[0], one.side)):
            shown[name] |= {p for example in (*one.won, *one.lost) for p in example.shown(place)}
    same, tested = found.unchanged()
    clear = sorted((t for t in slices if t.verdict != "unclear"), key=lambda test: -abs(test.difference))
    context = {
        "found": found,
        "main": main[:MAIN_ROWS],
        "every": every[:MOST_ROWS],
        "differing": len(every),
        "slices": clear[:MOST_SLICES],
        "tested_slices": len(slices),
        "same": same,
        "tested": tested,
        "counts": Counter(test.verdict for test in found.tests if not test.slice),
        "pictures": {name: pictures(found.products[name], ids) for name, ids in shown.items()},
        "most": MOST_CHANGES,
    }
    filters: dict[str, Callable[..., Any]] = {
        "clip": _clip,
        "number": lambda value: "–" if value is None else f"{value:.3f}",
        "signed": lambda value: f"{value:+.3f}",
        "strip": lambda test: _strip(test, max([1e-9, *bounds])),
        "thousands": lambda count: f"{count:,}",
        "less": lower_is_better,
        "p": lambda value: "< 0.001" if value < 0.001 else f"{value:.3f}",
        "around": around_difference,
    }
    return render_page(TEMPLATE, filters, **context)


def _clip(value: object) -> str:
    """A value as text, cut: sellers and parameters may be of any length."""
    text = str(value)
    return text if len(text) <= MOST_CHARS else text[: MOST_CHARS - 1] + "…"


def _strip(test: PairedDifference, largest: float) -> dict[str, float]:
    """Where the interval is drawn: zero in the middle, all rows to one scale."""
    low, high, at = (STRIP / 2 * (1 + x / largest) for x in (test.low, test.high, test.difference))
    return {"low": round(low, 1), "wide": round(max(high - low, 1.0), 1), "at": round(at, 1)}
