"""The page as text: Jinja templates and a style sheet, filled with what the report found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.catalog.format.records import Product
from components.report.figures import curves
from components.report.figures import figures as fig
from components.report.figures.key_figures import FEW, part_in_words
from components.report.galleries.catalogue import attributes, noise_acts
from components.report.galleries.retrieval import failure_in_words, outcomes_in_words, query_text
from components.report.params import CLAIM_N, ReportParams
from components.report.text import glossary
from components.stage.files.pages import render_page
from components.stage.files.printable import escaped
from components.stage.record import lower_is_better

WHITE = dict.fromkeys((9, 10, 11, 12, 13, 0x85, 0x2028, 0x2029), " ")  # white space of any kind is a space
TEMPLATES = Path(__file__).parent / "templates"


def clip(value: object, most: int) -> str:
    """``value`` as it is shown, cut to ``most`` characters: sellers may write anything."""
    text = escaped(str(value).translate(WHITE))
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _filters(params: ReportParams, listed: dict[str, Product]) -> dict[str, Callable[..., Any]]:
    return {
        "attributes": attributes,
        "best": fig.supported_best,
        "bounds": fig.bounds,
        "clip": lambda value: clip(value, params.text_chars),
        "failure": failure_in_words,
        "metric": fig.metric_label,
        "percent": lambda share: f"{share:.0%}",
        "plain": lambda name: str(name).replace("_", " "),
        "measures": glossary.measures,
        "p": fig.p_value,
        "noise_acts": noise_acts,
        "number": fig.number,
        "query_text": lambda search: query_text(search, listed),
        "usual_n": fig.usual_n,
        "system": fig.system_label,
        "thousands": lambda count: f"{count:,}",
        "verdict": lambda figures, test: fig.verdict(figures, test.a, test.b, test.metric),
        "verdict_counts": fig.verdict_counts,
        "label": lambda variant, system: glossary.label(system, variant),
        "lower_is_better": lower_is_better,
        "meaning": glossary.meaning,
        "sentence": lambda words: words[:1].upper() + words[1:],
        "outcomes": outcomes_in_words,
        "part": part_in_words,
    }


def render(params: ReportParams, context: dict[str, Any]) -> str:
    """The page as one HTML text, its style sheet inside; ``context`` gives the templates their names."""
    filters = _filters(params, context["listings"])
    constants = {"claim_n": CLAIM_N, "few": FEW, "frame": curves, "glossary": glossary}
    return render_page(TEMPLATES / "page.jinja", filters, **context, **constants, params=params)
