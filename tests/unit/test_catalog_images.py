"""Safe decoding: what is refused, and what comes out of what is not."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from components.catalog.format.errors import ImageError
from components.catalog.format.images import (
    catalogue_picture,
    check_image,
    check_start,
    decode_image,
    jpeg_scans,
    reencode,
)
from components.catalog.format.params import ImageLimits, ReencodeParams
from components.stage.errors import InvalidDataError

LIMITS = ImageLimits(max_bytes=200_000, max_pixels=120_000, min_side_px=4)


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(width: int = 64, height: int = 48) -> Image.Image:
    x = np.linspace(0, 255, width)[None, :, None] * np.array([1.0, 0.0, 0.5])
    y = np.linspace(0, 255, height)[:, None, None] * np.array([0.0, 1.0, 0.5])
    return Image.fromarray((x + y).astype(np.uint8))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_header_tells_format_and_size(kind: str) -> None:
    assert check_image(encoded(gradient(), kind), LIMITS) == (kind, 64, 48)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "ICO"])
def test_other_formats_are_refused_whatever_they_are_called(kind: str) -> None:
    with pytest.raises(ImageError, match="not a JPEG, PNG or WebP"):
        check_image(encoded(gradient(), kind), LIMITS)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "AVIF"])
def test_other_formats_become_catalogue_pictures(kind: str) -> None:
    second = gradient().transpose(Image.Transpose.ROTATE_180)
    frames = {} if kind == "BMP" else {"save_all": True, "append_images": [second]}
    data = encoded(gradient(), kind, **frames)
    check_start(data[:512])
    converted = catalogue_picture(data, LIMITS)
    assert check_image(converted, LIMITS) == ("PNG", 64, 48)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(np.asarray(decode_image(converted, LIMITS)), expected)


def test_a_conversion_keeps_to_the_limits() -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (100, 200, 3), dtype=np.uint8))
    data = encoded(noise, "TIFF")
    limits = LIMITS.model_copy(update={"max_bytes": len(data)})
    assert check_image(catalogue_picture(data, limits), limits).format == "JPEG"
    with pytest.raises(ImageError, match="max_pixels"):
        catalogue_picture(data, ImageLimits(max_pixels=10_000))
    with pytest.raises(ImageError, match="cannot be decoded"):
        catalogue_picture(data[:2000] + data[-200:], LIMITS)
    whole = encoded(gradient())
    assert catalogue_picture(whole, LIMITS) is whole


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"8BPS\0\1", "Photoshop"),
        (b"<svg xmlns=''>", "SVG"),
        (b"%PDF-1", "PDF"),
    ],
)
def test_a_format_that_cannot_be_read_is_named(start: bytes, name: str) -> None:
    with pytest.raises(ImageError, match=f"but {name}; convert it"):
        check_start(start)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"<html>not found</html>", "is not a JPEG"),
        (b"%PDF-1.7", "is not a JPEG"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 40, "unreadable header"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "unreadable header"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "unreadable header"),
        (b"\xff\xd8\xff" + b"\0" * 200_000, "more than max_bytes"),
    ],
)
def test_what_is_no_picture_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        check_image(data, LIMITS)


def png_bomb(side: int) -> bytes:
    """A PNG of a few hundred bytes whose header promises ``side`` squared pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [1000, 30_000, 2**31 - 1])
def test_decompression_bombs_are_refused_before_decoding(side: int) -> None:
    with pytest.raises(ImageError, match=r"max_pixels|unreadable header"):
        decode_image(png_bomb(side), LIMITS)


def test_tiny_pictures_are_refused() -> None:
    with pytest.raises(ImageError, match="min_side_px"):
        check_image(encoded(gradient(64, 2), "PNG"), LIMITS)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animations_are_refused(kind: str) -> None:
    frames = [gradient(), gradient().rotate(90, expand=False)]
    moving = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)
    with pytest.raises(ImageError, match="animated"):
        check_image(moving, LIMITS)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("target_px", [None, 8])
def test_truncated_pictures_are_errors(kind: str, share: float, target_px: int | None) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    with pytest.raises(ImageError):
        decode_image(data[: int(len(data) * share)], LIMITS, target_px)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_rotation_is_applied(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(gradient(), kind, exif=exif.tobytes(), **({"lossless": True} if kind == "WEBP" else {}))
    with Image.open(io.BytesIO(data)) as oracle:
        from PIL import ImageOps

        expected = np.asarray(ImageOps.exif_transpose(oracle).convert("RGB"))
    assert np.array_equal(np.asarray(decode_image(data, LIMITS)), expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_lies_over_white(mode: str) -> None:
    image = Image.new("RGBA", (16, 16), (200, 0, 0, 0))
    image.paste((10, 20, 30, 255), (0, 0, 8, 16))
    data = encoded(image.convert(mode), "PNG")
    pixels = np.asarray(decode_image(data, LIMITS))
    assert pixels.shape == (16, 16, 3)
    assert pixels[0, 15].tolist() == [255, 255, 255]
    grey = [18, 18, 18] if mode == "LA" else [10, 20, 30]
    assert np.abs(pixels[0, 0].astype(int) - grey).max() <= 1


def test_exif_rotation_survives_transparency() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.new("RGBA", (20, 10), (0, 0, 0, 128)), "PNG", exif=exif.tobytes())
    assert decode_image(data, LIMITS).size == (10, 20)


@pytest.mark.parametrize("mode", ["L", "1", "CMYK"])
def test_other_modes_become_rgb(mode: str) -> None:
    image = gradient().convert(mode)
    decoded = decode_image(encoded(image, "JPEG" if mode == "CMYK" else "PNG"), LIMITS)
    assert decoded.mode == "RGB"
    difference = np.asarray(decoded).astype(int) - np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(difference).mean() < 4


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    levels = np.linspace(0, 65535, 64).astype(np.uint16)[None].repeat(8, 0)
    decoded = np.asarray(decode_image(encoded(Image.fromarray(levels), "PNG"), LIMITS))
    assert np.array_equal(decoded[..., 0], (levels >> 8).astype(np.uint8))


def test_transparent_sixteen_bit_grey_is_white() -> None:
    grey = np.full((20, 30), 40_000, dtype=np.uint16)
    grey[5:, :] = 0
    seen = np.asarray(decode_image(encoded(Image.fromarray(grey), "PNG", transparency=0), LIMITS))
    assert (seen[:5] == 40_000 >> 8).all()
    assert (seen[5:] == 255).all()


def with_scans(data: bytes, more: int) -> bytes:
    """A progressive JPEG whose last scan is there ``more`` times more."""
    at, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:end] + data[at:end] * more + data[end:]


def test_thousands_of_scans_are_refused_and_counted_without_decoding() -> None:
    photo = encoded(gradient(), progressive=True)
    assert jpeg_scans(photo) == 10 and jpeg_scans(encoded(gradient())) == 1
    assert check_image(with_scans(photo, 54), LIMITS).format == "JPEG"
    for data in (with_scans(photo, 55), with_scans(photo, 3000)):
        with pytest.raises(ImageError, match=r"has [\d,]+ scans, more than max_scans=64"):
            check_image(data, LIMITS)
        with pytest.raises(ImageError, match="max_scans"):
            decode_image(data, LIMITS, target_px=8)


@pytest.mark.parametrize("progressive", [False, True])
def test_markers_in_metadata_and_in_a_second_picture_are_no_scans(progressive: bool) -> None:
    photo = encoded(gradient(), progressive=progressive, comment=b"\xff\xda" * 5000)
    assert jpeg_scans(photo + photo * 9) == jpeg_scans(photo) == (10 if progressive else 1)
    assert check_image(photo + photo * 9, LIMITS).format == "JPEG"
    restarts = encoded(gradient(), progressive=progressive, restart_marker_blocks=1)
    assert jpeg_scans(restarts) == jpeg_scans(photo)


@pytest.mark.parametrize(
    ("kind", "options", "each"),
    [
        ("JPEG", {}, 3),
        ("JPEG", {"progressive": True}, 9),
        ("PNG", {}, 12),
        ("WEBP", {"lossless": True}, 28),
    ],
)
def test_what_decoding_takes_is_limited_by_format(kind: str, options: dict[str, object], each: int) -> None:
    data, exact = encoded(gradient(), kind, **options), 64 * 48 * each
    check_image(data, LIMITS.model_copy(update={"max_decoded_bytes": exact}))
    with pytest.raises(ImageError, match=rf"takes {exact:,} bytes to decode \(64x48, {kind}\)"):
        check_image(data, LIMITS.model_copy(update={"max_decoded_bytes": exact - 1}))


def test_a_webp_of_49_million_pixels_is_over_the_default() -> None:
    header = b"\x2f" + struct.pack("<I", 6999 | 6999 << 14)  # VP8L: sizes less one, 14 bits each
    chunk = b"VP8L" + struct.pack("<I", 4096) + header.ljust(4096, b"\0")
    data = b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk
    with pytest.raises(ImageError, match="takes 1,372,000,000 bytes to decode"):
        check_image(data, ImageLimits())


def test_draft_decoding_keeps_the_target_size() -> None:
    data = encoded(gradient(400, 300))
    limits = LIMITS.model_copy(update={"max_pixels": 120_000})
    small = decode_image(data, limits, target_px=70)
    assert small.size == (100, 75)
    full = decode_image(data, limits).resize(small.size, Image.Resampling.BOX)
    assert np.abs(np.asarray(small).astype(int) - np.asarray(full).astype(int)).mean() < 2


def test_reencoding_shrinks_large_pictures_and_keeps_small_ones() -> None:
    params = ReencodeParams(longest_side_px=50, jpeg_quality=85)
    small = encoded(gradient(50, 20), "PNG")
    assert reencode(small, LIMITS, params) == small
    large = encoded(gradient(200, 80), comment=b"secret")
    again = reencode(large, LIMITS, params)
    assert check_image(again, LIMITS) == ("JPEG", 50, 20)
    assert b"secret" not in again
    assert again == reencode(large, LIMITS, params)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_files_decode_or_are_refused_but_never_crash(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "WEBP"]))
    broken = bytearray(encoded(gradient(32, 24), kind))
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(broken) - 1))
        broken[at] = data.draw(st.integers(0, 255))
    try:
        decoded = decode_image(bytes(broken), LIMITS)
    except InvalidDataError as error:
        assert str(error)
    else:
        assert decoded.mode == "RGB"
        assert decoded.width * decoded.height <= LIMITS.max_pixels
