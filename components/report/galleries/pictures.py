"""Pictures of the page: small JPEG thumbnails as data URIs."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from components.catalog.format.errors import ImageError
from components.catalog.format.images import decode_image
from components.catalog.format.params import ImageLimits
from components.report.errors import ReportInputError

# The gate has already judged the catalogue by the limits of params.yaml; these only stop a swapped file.
LIMITS = ImageLimits(
    max_bytes=2**28, max_pixels=250_000_000, min_side_px=1, max_scans=2**31, max_decoded_bytes=2**62
)


@dataclass(frozen=True)
class Picture:
    """A thumbnail; width and height in pixels."""

    uri: str
    width: int
    height: int


def thumbnail(product_id: str, data: bytes, longest_px: int, quality: int) -> Picture:
    """Decode an encoded picture, shrink it to ``longest_px`` (never enlarge) and encode it as JPEG.

    The same bytes give the same thumbnail.

    Raises:
        ReportInputError: the bytes are no JPEG, PNG or WebP picture, are cut short, or are too large.
    """
    from PIL import Image

    try:
        image = decode_image(data, LIMITS, target_px=longest_px)
    except ImageError as error:
        raise ReportInputError(
            f"data/checked, product '{product_id}': the image {error}; run the stage catalog_quality again."
        ) from None
    image.thumbnail((longest_px, longest_px), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    uri = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(uri, image.width, image.height)
