"""The words that are printed on pictures, read by rapidocr (PP-OCRv6 small) with the models of its package.

What is read is a set of words, each with a confidence: no sentence leaves this module, so nothing that is
printed on a picture can instruct anybody. Whoever asks for a picture again finds its words in a cache, which
can be deleted: it saves time and decides nothing.
"""

from __future__ import annotations

import unicodedata
import zlib
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
from diskcache import Cache, JSONDisk

from components.catalog.format.errors import ImageError
from components.catalog.format.images import decode_image
from components.encoder.model.features.pixels import LIMITS
from components.encoder.model.features.vector_cache import key_of
from components.opal.model.errors import ListingConfigurationError
from components.opal.model.printed.params import PrintedTextParams
from components.opal.model.titles.words import cores

DETECTION, RECOGNITION = "PP-OCRv6_det_small.onnx", "PP-OCRv6_rec_small.onnx"  # files of the package
VERSION = "1"  # of the reading below: raise it when the same picture gives other words
LONGEST_WORD = 40  # characters; what is longer is no word of a listing
MOST_WORDS = 200  # of one picture, the surest ones


class PrintedTextReader:
    """Reads pictures one by one; holds the two networks and an open cache, and no picture.

    Args:
        cache: folder of the words of pictures that were read before.

    Raises:
        ListingConfigurationError: rapidocr, or a file of its package, is not installed.
    """

    def __init__(self, params: PrintedTextParams, cache: Path, threads: int = 1) -> None:
        self._params = params
        runtime, rapidocr = _loaded("onnxruntime"), _loaded("rapidocr.main")
        self._engine = _engine(rapidocr, params.longest_side_px, threads)
        versions = metadata.version("rapidocr"), str(runtime.__version__)
        self._key = ("printed text", VERSION, *versions, str(params.longest_side_px))
        # JSON, because diskcache's default form would run code that somebody has put into the folder
        self._cache = Cache(cache, disk=JSONDisk, eviction_policy="none", size_limit=2**62)

    def words(self, picture: bytes) -> dict[str, float]:
        """Word in small letters -> confidence, 0 to 1, of the surest line that holds it; in their order.

        Args:
            picture: encoded. One that cannot be decoded has no words.
        """
        key = key_of(*self._key, picture).hex()
        if (found := self._known(key)) is None:
            found = self._read(picture)
            self._cache.set(key, found)
        sure, least = self._params.min_confidence, self._params.min_chars
        return {word: chance for word, chance in found.items() if chance >= sure and len(word) >= least}

    def close(self) -> None:
        """Close the cache."""
        self._cache.close()

    def _known(self, key: str) -> dict[str, float] | None:
        """The cached words; an entry that cannot be used is read again."""
        try:
            kept = self._cache.get(key)
            return None if kept is None else {str(word): float(chance) for word, chance in kept.items()}
        except (ValueError, TypeError, AttributeError, zlib.error):
            return None

    def _read(self, picture: bytes) -> dict[str, float]:
        try:
            pixels = _pixels(picture, self._params.longest_side_px)
        except ImageError:
            return {}
        read = self._engine(pixels)
        return _words(zip(read.txts or (), read.scores or (), strict=True))


def open_reader(
    params: PrintedTextParams | None, cache: Path, threads: int
) -> AbstractContextManager[PrintedTextReader | None]:
    """The reader, closed at the end; None where pictures are not to be read.

    Args:
        cache: the workspace's, in which words have a folder.

    Raises:
        ListingConfigurationError: as of the reader.
    """
    if params is None:
        return nullcontext()
    return closing(PrintedTextReader(params, cache / "printed", threads))


def _loaded(name: str) -> Any:
    """A module of the extra ``ocr``.

    Raises:
        ListingConfigurationError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ListingConfigurationError(
            f"Printed text is read by {name}, which cannot be loaded ({error}): "
            "pip install 'vitrine[ocr]', or set printed_text to null."
        ) from None


def _engine(rapidocr: ModuleType, longest_side_px: int, threads: int) -> Any:
    """The two networks from files of the package: what is named is never fetched.

    Raises:
        ListingConfigurationError: the package lacks a file.
    """
    assert rapidocr.__file__ is not None
    models = Path(rapidocr.__file__).parent / "models"
    if missing := [name for name in (DETECTION, RECOGNITION) if not (models / name).is_file()]:
        raise ListingConfigurationError(
            f"{models} lacks {missing[0]}, which the tested version of rapidocr brings: "
            "pip install 'vitrine[ocr]'."
        )
    return rapidocr.RapidOCR(
        params={
            "Global.log_level": "critical",
            "Global.use_cls": False,  # pictures are upright: EXIF is obeyed
            "Global.min_side_len": 1,  # a narrow picture is not enlarged beyond the bound
            "Det.model_path": str(models / DETECTION),
            "Det.limit_type": "max",
            "Det.limit_side_len": longest_side_px,
            "Rec.model_path": str(models / RECOGNITION),
            "EngineConfig.onnxruntime.intra_op_num_threads": threads,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )


def _pixels(picture: bytes, longest_side_px: int) -> npt.NDArray[np.uint8]:
    """The picture ``[height, width, 3]`` with its longest side so long, channels as OpenCV orders them (BGR).

    Raises:
        ImageError: it cannot be decoded.
    """
    from PIL import Image

    image = decode_image(picture, LIMITS)
    scale = longest_side_px / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    resized = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
    return np.ascontiguousarray(resized[:, :, ::-1])


def _words(lines: Iterable[tuple[str, float]]) -> dict[str, float]:
    """The words of lines of text with their confidence."""
    found: dict[str, float] = {}
    for line, score in lines:
        for word in cores(unicodedata.normalize("NFKC", line)):
            if len(word) <= LONGEST_WORD:
                found[word] = max(found.get(word, 0.0), round(float(score), 4))
    surest = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:MOST_WORDS]
    return dict(sorted(surest))


def spelled(words: Iterable[str], printed: Mapping[str, float]) -> float:
    """How surely ``printed`` holds all ``words``: as the least sure one; 0 if one is missing."""
    return min((printed.get(word, 0.0) for word in words), default=0.0)
