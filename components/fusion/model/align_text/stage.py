"""The stage ``align_text``: queries with product texts."""

from __future__ import annotations

from components.fusion.model.align.train import AlignmentStage, align
from components.fusion.model.params import AlignmentParams, FusionParams
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.record import Record


class Blocks(Params):
    """The parameters of the stage; ``new_heads`` draws heads instead of taking the encoder's."""

    fusion: FusionParams
    align_text: AlignmentParams
    new_heads: bool = False  # true: draw the encoder's heads anew, without domain fine-tuning


def run(params: Blocks, paths: Paths, record: Record) -> None:
    """Align the encoder's text tower with product texts."""
    start = AlignmentStage("align_text", params.fusion, params.align_text, paths.encoder, params.new_heads)
    align(start, paths, record)
