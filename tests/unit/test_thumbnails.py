"""Pictures in pages: small, never enlarged, transparent ones on white, broken ones left out."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from components.stage.files.thumbnails import thumbnail
from components.tracking.compare.catalogue import PICTURE_PX, Products, pictures


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def png(mode: str, colour: tuple[int, ...], size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_thumbnail_keeps_its_proportions_and_is_never_larger_than_the_picture() -> None:
    wide, tiny = Image.new("RGB", (400, 200), "red"), Image.new("RGB", (9, 5), "red")
    assert thumbnail(wide, 100, 80)[1:] == (100, 50) and thumbnail(tiny, 100, 80)[1:] == (9, 5)
    assert wide.size == (400, 200), "the picture itself stays as it was"
    assert thumbnail(wide, 100, 80) == thumbnail(wide, 100, 80)
    assert decoded(thumbnail(wide, 100, 80, "webp").uri).format == "WEBP"


def test_a_comparison_shows_transparent_pictures_on_white_and_leaves_broken_ones_out(tmp_path: Path) -> None:
    held = {"clear": png("RGBA", (255, 0, 0, 0), (300, 100)), "solid": png("RGB", (255, 0, 0), (40, 40))}
    held["broken"] = held["solid"][:60]
    images = [{"bytes": raw, "path": None} for raw in held.values()]
    pq.write_table(pa.table({"product_id": list(held), "image": images}), tmp_path / "part-0.parquet")
    shown = pictures(Products({"products/part-0.parquet": tmp_path / "part-0.parquet"}), {*held, "unknown"})
    assert set(shown) == {"clear", "solid"}
    clear, solid = decoded(shown["clear"]).convert("RGB"), decoded(shown["solid"]).convert("RGB")
    assert min(clear.getpixel((1, 1))) > 250 and max(clear.size) == PICTURE_PX
    assert solid.getpixel((20, 20))[0] > 240 and solid.getpixel((20, 20))[1] < 20 and solid.size == (40, 40)
