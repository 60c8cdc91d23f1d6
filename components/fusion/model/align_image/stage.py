"""The stage ``align_image``: queries with product pictures, keeping text."""

from __future__ import annotations

from pathlib import Path

from components.fusion.model.align.train import AlignmentStage, align
from components.fusion.model.params import AlignImageParams, FusionParams
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.record import Record


class Blocks(Params):
    """The parameters of the stage; ``start`` are towers of a study to go on from, else the graph's own."""

    fusion: FusionParams
    align_image: AlignImageParams
    start: Path | None = None  # the towers to start from; null: those that ``align_text`` made


def run(params: Blocks, paths: Paths, record: Record) -> None:
    """Align towers with product pictures."""
    start = params.start or paths.fusion / "align_text"
    align(AlignmentStage("align_image", params.fusion, params.align_image, start), paths, record)
