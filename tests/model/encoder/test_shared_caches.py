"""Two stages at once: the caches that they share are made once, and hold what both have put there."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from diskcache import Cache

from components.encoder.model.features.pixels import PixelCache, square
from components.encoder.model.features.vector_cache import VectorCache, key_of

KEYS = 400


def _fill(folder: str, begin: float) -> tuple[int, int]:
    """Sum of all vectors, and how many this process made, once the clock says ``begin``."""
    time.sleep(max(0.0, begin - time.time()))
    cache = VectorCache(Path(folder))
    items = [(key_of(str(i)), i) for i in range(KEYS)]
    parts = cache.fill(items, lambda found: np.array([[float(i)] for i in found], np.float32), 4)
    total = int(np.concatenate(list(parts)).sum())
    cache.close()
    return total, cache.misses


def _decode(catalogue: str, cache: str, begin: float) -> tuple[int, int]:
    """Sum of a cache's pixels, and how many pictures this process decoded."""
    time.sleep(max(0.0, begin - time.time()))
    decoded = 0

    class Counted(PixelCache):
        def _square(self, product_id: str, data: bytes | None) -> np.ndarray:
            nonlocal decoded
            decoded += 1
            return square(data or b"", self.image_px)

    pixels = Counted(Path(catalogue), 32, Path(cache), threads=1)
    return int(pixels.take(np.arange(len(pixels))).sum(dtype=np.int64)), decoded


def test_two_processes_share_a_new_vector_cache_and_pixel_cache(shapes: Path, tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        begin = time.time() + 4.0
        filled = [pool.submit(_fill, str(tmp_path / "v"), begin) for _ in range(2)]
        assert [f.result()[0] for f in filled] == [sum(range(KEYS))] * 2
        begin = time.time() + 0.2
        files = (str(shapes / "data/checked"), str(tmp_path))
        decoding = [pool.submit(_decode, *files, begin) for _ in range(2)]
        (first, a), (second, b) = [f.result() for f in decoding]
    assert first == second
    assert a + b == 160  # each picture once
    cache = VectorCache(tmp_path / "v")
    assert len(cache.get([key_of(str(i)) for i in range(KEYS)])) == KEYS
    assert not list(tmp_path.rglob("*.tmp"))


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.file,)


def test_a_pickled_value_in_the_folder_is_never_loaded(tmp_path: Path) -> None:
    key, known = key_of("a"), np.ones((1, 4), np.float32)
    with Cache(tmp_path / "v") as foreign:
        foreign[key] = Trap(tmp_path / "sprung")
    cache = VectorCache(tmp_path / "v")
    assert cache.get([key]) == {} and not (tmp_path / "sprung").exists()
    cache.put([key], known)
    assert np.array_equal(cache.get([key])[key], known[0])
