"""A memo of vectors, keyed by everything that decides them: weights, preprocessing, input bytes, dtype."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
WAIT_S = 60  # for another process's write
TABLE = "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB) WITHOUT ROWID"
VERSION = "3"  # of the encoding code: raise it when the same inputs give other vectors


def key_of(*parts: str | bytes) -> bytes:
    """A 16-byte key over length-prefixed parts, so that no two lists of parts run together."""
    digest = hashlib.sha256(VERSION.encode())
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.digest()[:16]


def _patiently(act: Callable[[], object]) -> None:
    """Try again while another process holds the file: SQLite does not wait to change a mode."""
    for _ in range(WAIT_S * 20):
        try:
            act()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            time.sleep(0.05)
    act()


class VectorMemo:
    """Vectors by content key in one SQLite file; killing a writer loses at most its last batch.

    Processes may share the file: readers never wait, and a writer holds it for one batch.
    """

    def __init__(self, file: Path | None) -> None:
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(":memory:" if file is None else file, timeout=WAIT_S)
        _patiently(lambda: self._db.execute("PRAGMA journal_mode=WAL"))
        # A crash of the machine may lose the last batches and breaks nothing; each is not worth a flush.
        self._db.execute("PRAGMA synchronous=NORMAL")
        _patiently(lambda: self._db.execute(TABLE))
        self.hits = self.misses = 0

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Vectors]:
        """The vectors that are known."""
        found: dict[bytes, Vectors] = {}
        for start in range(0, len(keys), 500):
            part = keys[start : start + 500]
            marks = ",".join("?" * len(part))
            rows = self._db.execute(f"SELECT key, vector FROM vectors WHERE key IN ({marks})", part)
            found.update((k, np.frombuffer(v, dtype=np.float32)) for k, v in rows)
        return found

    def put(self, keys: Sequence[bytes], vectors: Vectors) -> None:
        """Keep vectors ``[len(keys), D]``."""
        rows = [(k, v.tobytes()) for k, v in zip(keys, vectors.astype(np.float32), strict=True)]
        with self._db:
            self._db.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)

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
            self.misses += len(missing)
            if missing:
                vectors = compute(list(missing.values()))
                self.put(list(missing), vectors)
                known.update(zip(missing, vectors, strict=True))
            yield np.stack([known[k] for k, _ in chunk])
