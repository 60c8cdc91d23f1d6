"""Two stages at once: the caches that they share are made once, and hold what both have put there."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from diskcache import Cache

from components.encoder.model.errors import CacheFileError
from components.encoder.model.features.pixels import PixelCache, alone, shared_out, square
from components.encoder.model.features.vector_cache import VectorCache, key_of

KEYS = 400


def _fill(folder: str, begin: float) -> tuple[int, int]:
    """Sum of all vectors, and how many this process made, once the clock says ``begin``."""
    time.sleep(max(0.0, begin - time.time()))
    cache = VectorCache(Path(folder))
    items = [(key_of(str(i)), i) for i in range(KEYS)]
    made = 0

    def _made(found: Sequence[int]) -> np.ndarray:
        nonlocal made
        made += len(found)
        return np.array([[float(i)] for i in found], np.float32)

    total = int(np.concatenate(list(cache.fill(items, _made, 4))).sum())
    cache.close()
    return total, made


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
    with ProcessPoolExecutor(2, get_context("fork")) as pool:  # without seconds of imports
        begin = time.time() + 0.5
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


def test_processes_that_want_the_same_files_share_the_making_of_them(tmp_path: Path) -> None:
    files, made = [tmp_path / f"{i}.npy" for i in range(4)], list[tuple[str, str]]()
    begun, go_on = threading.Event(), threading.Event()

    def make(name: str, slow: bool) -> None:
        for file in shared_out(files):
            made.append((name, file.stem))
            if slow:
                begun.set()
                assert go_on.wait(20)
            file.touch()

    first = threading.Thread(target=make, args=("first", True))
    first.start()
    assert begun.wait(20)
    second = threading.Thread(target=make, args=("second", False))
    second.start()
    while len(made) < 4:
        time.sleep(0.001)
    assert made == [("first", "0"), ("second", "1"), ("second", "2"), ("second", "3")]
    assert second.is_alive(), "it waits for what the first one makes"
    go_on.set()
    for each in (first, second):
        each.join(20)
        assert not each.is_alive()
    assert len(made) == 4, "each is made once"


def test_what_another_process_has_failed_to_make_is_made(tmp_path: Path) -> None:
    files = [tmp_path / "a.npy", tmp_path / "b.npy"]
    with alone(files[0]):
        taken = shared_out(files)
        assert next(taken) == files[1]
    assert next(taken) == files[0]
    taken.close()
    files[0].touch()
    assert list(shared_out(files)) == [files[1]]


@pytest.mark.parametrize("part", ["head", "middle"])
def test_a_damaged_vector_cache_is_named_with_its_remedy(tmp_path: Path, part: str) -> None:
    folder, keys = tmp_path / "v", [key_of(str(i)) for i in range(300)]
    cache = VectorCache(folder)
    cache.put(keys, np.ones((300, 64), np.float32))
    cache.close()
    file = folder / "cache.db"
    for beside in folder.glob("cache.db-*"):
        beside.unlink()
    data = bytearray(file.read_bytes())
    where = 0 if part == "head" else 8192
    data[where : where + 4096 * 6] = b"\xff" * 4096 * 6
    file.write_bytes(data)
    with pytest.raises(CacheFileError, match=r"v is damaged .*delete this folder"):
        VectorCache(folder).get(keys)
