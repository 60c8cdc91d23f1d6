"""A self-contained page of described photos: picture, title, attributes, and how sure the model is."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

from components.catalog.images import decode_image
from components.catalog.params import ImageLimits
from components.opal.describe import Described

THUMBNAIL_PX, QUALITY = 256, 80
STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;margin:2rem;color:#222;background:#fafaf8}"
    "main{display:grid;grid-template-columns:repeat(auto-fill,minmax(17rem,1fr));gap:1.2rem}"
    "article{background:#fff;border:1px solid #e4e2dc;border-radius:8px;padding:1rem}"
    "img{width:100%;height:13rem;object-fit:contain}h2{font-size:1rem;margin:.6rem 0}"
    "td{padding:.1rem .5rem .1rem 0}td:last-child{color:#777;text-align:right}"
    ".low{color:#a33}small{color:#777;overflow-wrap:anywhere}"
)


def _thumbnail(path: Path, limits: ImageLimits) -> str:
    image = decode_image(path.read_bytes(), limits, target_px=THUMBNAIL_PX)
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=QUALITY)
    return base64.b64encode(out.getvalue()).decode()


def _card(described: Described, path: Path, limits: ImageLimits, low: float) -> str:
    """One photo with its listing as HTML, or with the reason why it has none."""
    name = escape(described.photo)
    if described.generated is None or described.generated.listing is None:
        return f"<article><h2>{name}</h2><p class=low>{escape(described.row()['error'])}</p></article>"
    listing, sure = described.generated.listing, described.generated.confidence
    rows = "".join(
        f"<tr{' class=low' if sure.get(n, 1) < low else ''}><td>{escape(n)}</td><td>{escape(v)}</td>"
        f"<td>{f'{sure[n]:.0%}' if n in sure else ''}</td></tr>"
        for n, v in listing.attributes.items()
    )
    picture = f'<img alt="{name}" src="data:image/jpeg;base64,{_thumbnail(path, limits)}">'
    title = escape(listing.title)
    return f"<article>{picture}<h2>{title}</h2><table>{rows}</table><small>{name}</small></article>"


def describe_page(
    described: Sequence[Described], photos: Sequence[Path], limits: ImageLimits, low: float
) -> str:
    """The page as HTML; values the model is less than ``low`` sure of are marked."""
    cards = "".join(_card(d, p, limits, low) for d, p in zip(described, photos, strict=True))
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Described photos</title>"
        f"<style>{STYLE}</style><h1>Described photos</h1><p>Share: how sure the model is of a value. Red: "
        f"less than {low:.0%}.</p><main>{cards}</main></html>\n"
    )
