"""Pictures of the page: thumbnails of the catalogue's products."""

from __future__ import annotations

from components.catalog.format.errors import ImageError
from components.catalog.format.images import decode_image
from components.catalog.format.params import ImageLimits
from components.report.errors import ReportInputError
from components.stage.files.thumbnails import Thumbnail, thumbnail

# The gate has already judged the catalogue by the limits of params.yaml; these only stop a swapped file.
LIMITS = ImageLimits(
    max_bytes=2**28, max_pixels=250_000_000, min_side_px=1, max_scans=2**31, max_decoded_bytes=2**62
)


def product_picture(product_id: str, data: bytes, longest_px: int, quality: int) -> Thumbnail:
    """A product's encoded picture as a small JPEG; the same bytes give the same picture.

    Raises:
        ReportInputError: the bytes are no JPEG, PNG or WebP picture, are cut short, or are too large.
    """
    try:
        image = decode_image(data, LIMITS, target_px=longest_px)
    except ImageError as error:
        raise ReportInputError(
            f"data/checked, product '{product_id}': the image {error}; run the stage catalog_quality again."
        ) from None
    return thumbnail(image, longest_px, quality)
