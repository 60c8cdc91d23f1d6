"""Two stages at once: the caches that they share are made once, and hold what both have put there."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from components.encoder.model.features.pixels import PixelCache, square
from components.encoder.model.features.vector_cache import VectorMemo, key_of

KEYS = 400


def _fill(file: str, begin: float) -> tuple[int, int]:
    """Sum of all vectors, and how many this process made, once the clock says ``begin``."""
    time.sleep(max(0.0, begin - time.time()))
    memo = VectorMemo(Path(file))
    items = [(key_of(str(i)), i) for i in range(KEYS)]
    parts = memo.fill(items, lambda found: np.array([[float(i)] for i in found], np.float32), 4)
    total = int(np.concatenate(list(parts)).sum())
    memo.close()
    return total, memo.misses


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


def test_two_processes_share_a_new_memo_and_a_new_pixel_cache(shapes: Path, tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        begin = time.time() + 4.0
        filled = [pool.submit(_fill, str(tmp_path / "v.sqlite"), begin) for _ in range(2)]
        assert [f.result()[0] for f in filled] == [sum(range(KEYS))] * 2
        begin = time.time() + 0.2
        files = (str(shapes / "data/checked"), str(tmp_path))
        decoding = [pool.submit(_decode, *files, begin) for _ in range(2)]
        (first, a), (second, b) = [f.result() for f in decoding]
    assert first == second
    assert a + b == 160  # each picture once
    memo = VectorMemo(tmp_path / "v.sqlite")
    assert len(memo.get([key_of(str(i)) for i in range(KEYS)])) == KEYS
    assert not list(tmp_path.rglob("*.tmp"))
