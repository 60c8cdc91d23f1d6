"""The page of described photos: failures first, doubts marked, everything escaped, nothing fetched."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from components.catalog.format.params import ImageLimits
from components.opal.describe.describe import Described, describe_page
from components.opal.model.certainty.abstain import StatedAnswer
from components.opal.model.listing_text import Listing
from components.opal.model.writing.generate import Generated
from tests.accessible import assert_structured

LIMITS = ImageLimits(max_bytes=10**6, max_pixels=10**6, min_side_px=1)


def test_failures_come_first_and_doubtful_values_are_marked(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 0, 0)).save(buffer, "PNG")
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    listing = Listing("Red <b>mug</b>", {"colour": "red", "height_cm": "9"})
    sure = {"colour": 0.9, "height_cm": 0.2}
    good = Described("a.png", "kitchen", StatedAnswer(Generated("", listing, sure), {"brand": 0.1}))
    nothing = Described("a.png", "kitchen", StatedAnswer(Generated("", Listing("Mug")), {}, unlike=True))
    bad = Described("b.png", "kitchen", None, "b.png: the photo is broken.")
    photos = [tmp_path / name for name in ("a.png", "b.png", "a.png")]
    page = describe_page([good, bad, nothing], photos, LIMITS, 0.4, "At most 20% are wrong.")
    assert_structured(page)
    assert "3 photos, described as kitchen. 1 without a listing, shown first." in page
    assert "At most 20% are wrong." in page and "unlike every training picture" in page
    assert ">brand</th><td>left out</td>" in page
    assert page.index("the photo is broken") < page.index("Red &lt;b&gt;mug")
    assert "<td>? 20%</td>" in page and "<td>90%</td>" in page and page.count('class="low"') == 3
    assert (
        "http" not in page.replace("http-equiv", "")
        and "<script" not in page
        and "prefers-color-scheme" in page
    )
