"""The card of a registered version: what it is, its first weights, figures, what it was made from."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from components.tracking.publish.runs import Runs


def headline(runs: Runs, run: Any) -> dict[str, float]:
    """Headline figures of the pipeline run that the model's run belongs to."""
    parent = runs.get(run.data.tags.get("mlflow.parentRunId", "-"))
    return dict(parent.data.metrics) if parent else {}


def weights_origins(folder: Path) -> dict[str, str]:
    """Where weights made elsewhere come from, as the configurations of a model folder say it.

    A part that two configurations name, with other facts, is named with its folder as well.
    """
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("config.json")):
        config = json.loads(path.read_text(encoding="utf-8"))
        origins = config.get("origins") if isinstance(config, dict) else None
        for part, facts in (origins if isinstance(origins, dict) else {}).items():
            if not isinstance(facts, dict) or facts.get("source") == "random":
                continue
            said = "; ".join(f"{key}: {value}" for key, value in facts.items())
            if found.setdefault(str(part), said) != said:
                found[f"{part} ({path.parent.relative_to(folder).as_posix()})"] = said
    return found


def model_card(
    name: str, run: Any, sha256: str, figures: dict[str, float], origins: dict[str, str] | None = None
) -> str:
    """The model card in Markdown: what it is, its first weights, figures, and what it was made from."""
    tags = run.data.tags
    dirty = " with uncommitted changes" if tags.get("vitrine.dirty") == "true" else ""
    lines = [
        f"# {name}",
        "",
        f"Made by stage `{tags.get('vitrine.stage', '')}` in run `{run.info.run_id}`, ",
        "",
    ]
    lines[2] += f"from commit `{tags.get('vitrine.git_commit') or 'unknown'}`{dirty}."
    lines += [f"SHA-256 of the model's files: `{sha256}`.", ""]
    own = {
        key: value
        for key, value in run.data.metrics.items()
        if not key.startswith(("system/", "timing/", "curve/"))
    }
    inputs = {
        key.removeprefix("vitrine.dep."): value
        for key, value in tags.items()
        if key.startswith("vitrine.dep.")
    }
    lines += _section("Weights made elsewhere", origins or {})
    lines += _section("Figures of the pipeline run", {key: f"{value:.4f}" for key, value in figures.items()})
    lines += _section("Figures of the training", {key: f"{value:.4f}" for key, value in own.items()})
    lines += _section("Made from", inputs)
    lines += _section("Parameters", run.data.params)
    return "\n".join(lines)


def _section(title: str, values: dict[str, str]) -> list[str]:
    if not values:
        return []
    return [
        f"## {title}",
        "",
        "| name | value |",
        "|---|---|",
        *(f"| {_cell(k)} | {_cell(v)} |" for k, v in sorted(values.items())),
        "",
    ]


def _cell(text: str) -> str:
    """Text for a cell of a Markdown table: one line, and no markup of its own."""
    plain = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*\[\]|])", r"\\\1", plain)
