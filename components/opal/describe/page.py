"""A self-contained page of described photos: picture, title, attributes, and how sure the model is."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

from components.catalog.format.images import decode_image
from components.catalog.format.params import ImageLimits
from components.opal.describe.describe import Described

THUMBNAIL_PX, QUALITY = 256, 80
STYLE = """
:root { color-scheme: light dark; --ground: #fbfaf7; --card: #fff; --ink: #26231f; --soft: #6c665d;
  --rule: #e5dfd5; --low: #a5402b; }
@media (prefers-color-scheme: dark) { :root { --ground: #15171a; --card: #1c1f23; --ink: #e6e1d8;
  --soft: #9d978c; --rule: #31353b; --low: #e6927b; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 74rem; padding: 2rem 1.25rem 4rem;
  color: var(--ink); background: var(--ground); overflow-wrap: anywhere; }
h1 { font: 600 1.8rem/1.2 ui-serif, Georgia, serif; margin: 0 0 .4rem; }
p { margin: .3rem 0; max-width: 46rem; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)); gap: 1.1rem;
  margin-top: 1.4rem; }
article { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 1rem;
  break-inside: avoid; }
img { width: 100%; height: 13rem; object-fit: contain; }
h2 { font: 600 1.05rem/1.3 ui-serif, Georgia, serif; margin: .7rem 0 .4rem; }
table { width: 100%; border-collapse: collapse; font-size: .9rem; margin-bottom: .5rem;
  font-variant-numeric: tabular-nums; }
th { font-weight: 400; color: var(--soft); text-align: left; width: 40%; }
th, td { padding: .15rem .5rem .15rem 0; vertical-align: top; border-bottom: 1px solid var(--rule); }
td:last-child { color: var(--soft); text-align: right; padding-right: 0; white-space: nowrap; }
.low td, .low td:last-child, p.low { color: var(--low); } small, .soft { color: var(--soft); }
"""


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
        return (
            f'<article><h2>No listing</h2><p class="low">{escape(described.row()["error"])}</p>'
            f"<small>{name}</small></article>"
        )
    listing, sure = described.generated.listing, described.generated.confidence
    rows = "".join(_row(n, v, sure.get(n), low) for n, v in listing.attributes.items())
    picture = f'<img alt="{name}" src="data:image/jpeg;base64,{_thumbnail(path, limits)}">'
    title = escape(listing.title)
    return f"<article>{picture}<h2>{title}</h2><table>{rows}</table><small>{name}</small></article>"


def _row(name: str, value: str, sure: float | None, low: float) -> str:
    """One attribute; a value that the model is not sure of is marked by colour and by a question mark."""
    doubted = sure is not None and sure < low
    said = "" if sure is None else f"{'? ' if doubted else ''}{sure:.0%}"
    mark = ' class="low"' if doubted else ""
    return (
        f'<tr{mark}><th scope="row">{escape(name.replace("_", " "))}</th><td>{escape(value)}</td>'
        f"<td>{said}</td></tr>"
    )


def describe_page(
    described: Sequence[Described], photos: Sequence[Path], limits: ImageLimits, low: float
) -> str:
    """The page as HTML: photos without a listing first; values it is less than ``low`` sure of are marked."""
    without = [each.generated is None or each.generated.listing is None for each in described]
    ordered = sorted(zip(without, described, photos, strict=True), key=lambda each: not each[0])
    cards = "".join(_card(each, path, limits, low) for _, each, path in ordered)
    categories = ", ".join(dict.fromkeys(escape(each.category) for each in described))
    count = f"{len(described):,} photo" + ("s" if len(described) != 1 else "")
    failed = f" {sum(without):,} without a listing, shown first." if any(without) else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Described photos</title><style>{STYLE}</style></head>\n<body><h1>Described photos</h1>"
        f"<p>{count}, described as {categories}.{failed}</p>"
        '<p class="soft">Everything in a listing was written by a model from the photo alone. A percentage '
        f"is how sure it was of the value; <b>? and red</b>: less than {low:.0%}.</p>"
        f"<main>{cards}</main></body></html>\n"
    )
