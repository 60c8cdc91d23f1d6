"""A self-contained page of described photos: picture, title, attributes, and how sure the model is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from components.catalog.format.images import decode_image
from components.catalog.format.params import ImageLimits
from components.opal.describe.describe import Described
from components.stage.files.pages import render_page
from components.stage.files.thumbnails import thumbnail

PICTURE_PX, QUALITY = 256, 80
TEMPLATE = Path(__file__).with_name("page.jinja")


def _card(described: Described, path: Path, limits: ImageLimits) -> dict[str, object]:
    """One photo with its listing, or with the reason why it has none."""
    if described.stated is None or described.generated is None:
        return {"photo": described.photo, "listing": None, "error": described.row()["error"]}
    return {
        "photo": described.photo,
        "listing": described.generated.listing,
        "confidence": described.generated.confidence,
        "left_out": described.stated.left_out,
        "unlike": described.stated.unlike,
        "box": described.box,
        "picture": thumbnail(
            decode_image(path.read_bytes(), limits, target_px=PICTURE_PX), PICTURE_PX, QUALITY
        ),
    }


def describe_page(
    described: Sequence[Described], photos: Sequence[Path], limits: ImageLimits, low: float, point: str
) -> str:
    """The page as HTML; photos without a listing come first.

    Args:
        low: confidence below which a value is marked. point: a sentence on what is stated.
    """
    cards = [_card(each, path, limits) for each, path in zip(described, photos, strict=True)]
    return render_page(
        TEMPLATE,
        cards=sorted(cards, key=lambda card: card["listing"] is not None),
        categories=list(dict.fromkeys(each.category for each in described)),
        without=sum(card["listing"] is None for card in cards),
        low=low,
        point=point,
    )
