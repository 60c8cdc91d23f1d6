"""What a picture may cost, and how it is made smaller."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from components.stage.params import Params


class ImageLimits(Params):
    """What an encoded picture may cost before it is decoded; read from its header."""

    max_bytes: PositiveInt = 20_000_000
    max_pixels: PositiveInt = 50_000_000  # width times height
    # of a JPEG: each is a pass over all of it, so thousands cost a minute in every stage; usual are 1 to 12
    max_scans: PositiveInt = 64
    # held at the peak of decoding, by format and size: 12 bytes a pixel for PNG, 28 for WebP, 3 for a JPEG,
    # and 9 for a progressive one
    max_decoded_bytes: PositiveInt = 600_000_000
    min_side_px: PositiveInt = 16  # smaller pictures show nothing (tracking pixels, placeholders)


class ReencodeParams(Params):
    """How imported pictures are made smaller. A picture within the size is kept byte for byte."""

    longest_side_px: int = Field(512, ge=16)
    jpeg_quality: int = Field(90, ge=30, le=98)
