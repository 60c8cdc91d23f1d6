"""Safe decoding: nothing is decoded before its header has been found acceptable.

The format is sniffed from the bytes, never taken from a file name. JPEG, PNG and WebP are allowed; animated
PNG and WebP files are refused, for their first frame is often a blank or a title card. Of a multi-picture
JPEG (as phones write) the primary picture counts. Colour profiles are ignored. Some other formats can be
brought into one of the three (``catalogue_picture``): a catalogue itself never holds them.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, NamedTuple

from components.catalog.format.errors import ImageError
from components.catalog.format.params import ImageLimits, ReencodeParams

if TYPE_CHECKING:
    from PIL import Image

SCAN, END_OF_IMAGE = b"\xff\xda", 0xD9
# No zero byte after it, which is data of a scan, and no number of a restart, which goes on with the scan.
MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
# A pixel's bytes at the peak of decoding: libwebp and Pillow hold several copies, libjpeg all coefficients.
DECODED_BYTES = {"JPEG": 3, "progressive": 9, "PNG": 12, "WEBP": 28}
ORIENTATION = 0x0112  # EXIF tag
# Leading bytes, as patterns, of what shops also have. AVIF and HEIC: ISO/IEC 23008-12.
CONVERTIBLE = {
    "GIF": rb"GIF8[79]a",
    "TIFF": rb"II\*\x00|MM\x00\*",
    "BMP": rb"BM.{4}\x00{4}",
    "AVIF": rb".{4}ftypavi[fs]",
}
UNREADABLE = {
    "HEIC": rb".{4}ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)",
    "JPEG XL": rb"\xff\x0a|\x00{3}\x0cJXL ",
    "JPEG 2000": rb"\x00{3}\x0cjP  |\xff\x4f\xff\x51",
    "SVG": rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.{0,200}?-->\s*)?(?:<!DOCTYPE svg[^>]*>\s*)?<svg",
    "PDF": rb"%PDF-",
    "Photoshop": rb"8BPS",
}
ADDRESSED = re.compile(r"<[^<>]* at 0x[0-9a-fA-F]+>")


class ImageInfo(NamedTuple):
    """What the header says: format (JPEG, PNG, WEBP), and width and height in pixels as stored."""

    format: str
    width: int
    height: int


def sniff_format(data: bytes) -> str:
    """``JPEG``, ``PNG`` or ``WEBP`` by the leading bytes (ITU T.81 B.1.1.3, RFC 2083 §3.1, RFC 9649 §2.4).

    Raises:
        ImageError: neither of the three.
    """
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if (name := _other_format(data, CONVERTIBLE)) or (name := _other_format(data, UNREADABLE)):
        raise ImageError(f"is not a JPEG, PNG or WebP picture but {name}; convert it")
    raise ImageError(f"is not a JPEG, PNG or WebP picture (it starts with {data[:8]!r})")


def check_start(data: bytes) -> None:
    """Whether leading bytes (some hundreds) are of a format that ``catalogue_picture`` takes.

    Raises:
        ImageError: they are not; the message names the format where it is a known one.
    """
    if not _other_format(data, CONVERTIBLE):
        sniff_format(data)


def _other_format(data: bytes, patterns: dict[str, bytes]) -> str:
    return next((name for name, start in patterns.items() if re.match(start, data[:1024], re.DOTALL)), "")


def check_image(data: bytes, limits: ImageLimits) -> ImageInfo:
    """Read and judge the header; no pixel is decoded.

    Raises:
        ImageError: empty, over ``max_bytes`` or ``max_pixels``, under ``min_side_px``, of another format,
            animated, or with a header that cannot be read. The message is a phrase to follow "the image".
    """
    info, _ = _open(data, limits)
    return info


def decode_image(data: bytes, limits: ImageLimits, target_px: int | None = None) -> Image.Image:
    """Decode to RGB, upright by EXIF, transparency laid over white; metadata are dropped.

    ``target_px`` lets a JPEG be decoded at 1/2, 1/4 or 1/8 of its size, several times faster, as long as
    neither side falls below ``target_px``; the caller still resizes.

    Raises:
        ImageError: as ``check_image``, and for truncated or corrupt pixel data.
    """
    _, image = _open(data, limits)
    return _decoded(image, target_px)


def _decoded(image: Image.Image, target_px: int | None = None) -> Image.Image:
    try:
        if target_px and image.format in ("JPEG", "MPO"):
            image.draft("RGB", (target_px, target_px))
        image.load()
        turn = _turn(image)
        upright = _rgb(image) if turn is None else _rgb(image).transpose(turn)
    except Exception as error:
        raise ImageError(f"cannot be decoded ({_phrase(error)})") from None
    upright.info = {}  # a comment or profile would otherwise travel into whatever is saved from here
    return upright


def catalogue_picture(data: bytes, limits: ImageLimits) -> bytes:
    """JPEG, PNG and WebP unchanged; GIF, TIFF, BMP and AVIF as PNG, or as JPEG where that is too large.

    Of several frames or pages the first counts. What is unchanged is not looked at.

    Raises:
        ImageError: as ``decode_image``, for what is converted.
    """
    if not (name := _other_format(data, CONVERTIBLE)):
        return data
    _check_size(data, limits)
    _, image = _open_as(name, data, limits)
    upright = _decoded(image)
    for options in ({"format": "PNG"}, {"format": "JPEG", "quality": 95}):
        buffer = io.BytesIO()
        upright.save(buffer, **options)
        if buffer.tell() <= limits.max_bytes:
            break
    return buffer.getvalue()


def reencode(data: bytes, limits: ImageLimits, params: ReencodeParams) -> bytes:
    """The picture with its longest side at most ``longest_side_px``, as JPEG; unchanged if it is so already.

    Raises:
        ImageError: as ``decode_image``.
    """
    info = check_image(data, limits)
    longest = max(info.width, info.height)
    side = params.longest_side_px
    if longest <= side:
        decode_image(data, limits)  # kept as it is, but only if it can be read to its end
        return data
    from PIL import Image

    # The other side may become shorter than the longest allowed one: ask for what is really needed of it.
    shortest = max(1, round(min(info.width, info.height) * side / longest))
    image = decode_image(data, limits, target_px=shortest)
    scale = side / max(image.size)
    if scale < 1:
        size = tuple(max(1, round(length * scale)) for length in image.size)
        image = image.resize((size[0], size[1]), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=params.jpeg_quality)
    return buffer.getvalue()


def _open(data: bytes, limits: ImageLimits) -> tuple[ImageInfo, Image.Image]:
    _check_size(data, limits)
    return _open_as(sniff_format(data), data, limits)


def _check_size(data: bytes, limits: ImageLimits) -> None:
    if not data:
        raise ImageError("is empty")
    if len(data) > limits.max_bytes:
        raise ImageError(f"has {len(data):,} bytes, more than max_bytes={limits.max_bytes:,}")


def _open_as(name: str, data: bytes, limits: ImageLimits) -> tuple[ImageInfo, Image.Image]:
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(data), formats=[name])
        info = ImageInfo(name, *image.size)
        moves = name in ("PNG", "WEBP") and getattr(image, "is_animated", False)
    except Exception as error:  # a decoder fed hostile bytes may raise anything
        raise ImageError(f"has an unreadable header ({_phrase(error)})") from None
    if info.width * info.height > limits.max_pixels:
        size = f"{info.width}x{info.height}"
        raise ImageError(f"has {size} pixels, more than max_pixels={limits.max_pixels:,}")
    if min(info.width, info.height) < limits.min_side_px:
        raise ImageError(f"is {info.width}x{info.height}, smaller than min_side_px={limits.min_side_px}")
    if moves:
        raise ImageError("is animated")
    _check_cost(data, info, image, limits)
    return info, image


def _check_cost(data: bytes, info: ImageInfo, image: Image.Image, limits: ImageLimits) -> None:
    """Refuse what few bytes make dear, before anything is decoded."""
    if info.format == "JPEG" and data.count(SCAN) > limits.max_scans:  # in metadata, too, so count again
        found = jpeg_scans(data)
        if found > limits.max_scans:
            raise ImageError(f"has {found:,} scans, more than max_scans={limits.max_scans}; save it again")
    kind = "progressive" if info.format == "JPEG" and image.info.get("progressive") else info.format
    needed = info.width * info.height * DECODED_BYTES.get(kind, DECODED_BYTES["PNG"])
    if needed > limits.max_decoded_bytes:
        raise ImageError(
            f"takes {needed:,} bytes to decode ({info.width}x{info.height}, {info.format}), more than "
            f"max_decoded_bytes={limits.max_decoded_bytes:,}"
        )


def jpeg_scans(data: bytes) -> int:
    """Scans of a JPEG (ITU T.81 B.2.3), counted by its markers up to the end of its first picture."""
    count, at = 0, 2
    while found := MARKER.search(data, at):
        at = found.end()
        if data[at - 1] == END_OF_IMAGE:
            break
        count += data[at - 2 : at] == SCAN
        at += max(2, int.from_bytes(data[at : at + 2], "big"))
    return count


def _rgb(image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):  # 16-bit grey: Pillow's own conversion clips instead of scaling
        import numpy as np

        deep = np.asarray(image, dtype=np.uint32)
        grey = (deep >> 8).astype(np.uint8)
        if isinstance(clear := image.info.get("transparency"), int):  # the one grey that is transparent
            grey[deep == clear] = 255
        return Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What makes the picture upright, by its EXIF orientation (JEITA CP-3451, 4.6.4)."""
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    try:
        orientation = image.getexif().get(ORIENTATION)
        return turns.get(orientation) if orientation else None
    except Exception:  # a broken EXIF block is no reason to lose a good picture
        return None


def _phrase(error: Exception) -> str:
    # Some decoders name the object they read by its address, which would differ from run to run.
    text = ADDRESSED.sub("", f"{type(error).__name__}: {error}")
    return " ".join(text.split())[:120]
