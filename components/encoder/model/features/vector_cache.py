"""A cache of vectors, keyed by everything that decides them: weights, preprocessing, input bytes, dtype."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from diskcache import Cache, Disk
from diskcache.core import MODE_RAW

from components.encoder.model.errors import CacheFileError

Vectors = npt.NDArray[np.float32]
WAIT_S = 60  # for another process's write
UNLIMITED = 2**62
VERSION = "5"  # of the encoding code: raise it when the same inputs give other vectors
SETTINGS = {
    "eviction_policy": "none",
    "size_limit": UNLIMITED,
    "cull_limit": 0,
    "disk_min_file_size": UNLIMITED,  # all in one file: a vector is smaller than a file system's block
}


def key_of(*parts: str | bytes) -> bytes:
    """A 16-byte key over length-prefixed parts, so that no two lists of parts run together."""
    digest = hashlib.sha256(VERSION.encode())
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.digest()[:16]


class RawDisk(Disk):
    """Bytes alone: diskcache's pickled form would run code that somebody has put into the folder."""

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> bytes | None:
        """What was stored as bytes; anything else counts as not there."""
        return value if mode == MODE_RAW and isinstance(value, bytes) else None


class VectorCache:
    """Vectors by content key in a folder; killing a writer loses at most its last batch.

    Processes may share the folder: readers never wait, and a writer holds it for one batch. None keeps the
    vectors in memory.

    Raises:
        CacheFileError: here and below, the folder is damaged.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        with self._whole():
            self._store: dict[bytes, bytes] | Cache = (
                {} if folder is None else Cache(folder, timeout=WAIT_S, disk=RawDisk, **SETTINGS)
            )
        self.hits = 0

    @contextmanager
    def _whole(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError:  # locked, or the disk is full
            raise
        except sqlite3.DatabaseError as error:
            raise CacheFileError(
                f"{self._folder} is damaged ({error}); delete this folder: it is a cache, and is made anew."
            ) from None

    def close(self) -> None:
        """Close the folder."""
        if isinstance(self._store, Cache):
            self._store.close()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Vectors]:
        """The vectors that are known."""
        with self._whole():
            found = [(key, self._store.get(key)) for key in keys]
        return {key: np.frombuffer(data, dtype=np.float32) for key, data in found if data is not None}

    def put(self, keys: Sequence[bytes], vectors: Vectors) -> None:
        """Keep vectors ``[len(keys), D]``."""
        store = self._store
        with self._whole(), store.transact(retry=True) if isinstance(store, Cache) else nullcontext():
            for key, vector in zip(keys, vectors.astype(np.float32), strict=True):
                store[key] = vector.tobytes()

    def fill(
        self, items: Iterable[tuple[bytes, object]], compute: Callable[[list[object]], Vectors], batch: int
    ) -> Iterator[Vectors]:
        """Vectors of ``(key, input)`` items in order, ``[<= batch, D]`` at a time; known ones are looked up.

        ``compute`` gets the inputs that are not known; one input's vector must not depend on its neighbours.
        """
        iterator = iter(items)
        while chunk := list(islice(iterator, batch)):
            known = self.get([k for k, _ in chunk])
            missing = {k: x for k, x in chunk if k not in known}
            self.hits += len(chunk) - len(missing)
            if missing:
                vectors = compute(list(missing.values()))
                self.put(list(missing), vectors)
                known.update(zip(missing, vectors, strict=True))
            yield np.stack([known[k] for k, _ in chunk])
