"""Parameters of reading what is printed on pictures."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from components.stage.params import Params, Share


class PrintedTextParams(Params):
    """Optical character recognition by rapidocr, of the extra ``ocr``; its package brings its models."""

    longest_side_px: int = Field(640, ge=64, le=4096)  # of a picture as it is read, smaller ones enlarged
    min_confidence: Share = 0.8  # of a line of text, from which its words count
    min_chars: PositiveInt = 2  # shorter words are mostly eyelets and seams that look like an O or an I
