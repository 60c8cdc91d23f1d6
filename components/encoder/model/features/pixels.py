"""Pre-decoded pixels: every picture of a catalogue as one memory-mapped array per shard.

Reading ready pixels is hundreds of times cheaper than decoding JPEG, and training reads each picture many
times. The arrays are a cache under ``.vitrine/cache``, keyed by the shard's bytes and the preprocessing:
delete them and nothing changes but time.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from components.catalog.format.errors import ImageError
from components.catalog.format.images import decode_image
from components.catalog.format.params import ImageLimits
from components.stage.files.publish import published
from components.stage.progress import Progress
from components.stage.resources.placement import leave_place
from components.stage.resume import sha256_file

Pixels = npt.NDArray[np.uint8]

# A checked catalogue has passed the gate's own limits; these only stop a picture that cannot be honest.
LIMITS = ImageLimits(
    max_bytes=256 * 2**20, max_pixels=400_000_000, min_side_px=1, max_scans=2**31, max_decoded_bytes=2**62
)
VERSION = "1"  # of the decoding below: raise it when the pixels it gives change
ROWS_AT_ONCE = 256


def square(data: bytes, image_px: int, limits: ImageLimits = LIMITS) -> Pixels:
    """One encoded picture stretched to ``[image_px, image_px, 3]`` uint8; fractions of a box stay true."""
    from PIL import Image

    image = decode_image(data, limits, target_px=image_px)
    return np.asarray(image.resize((image_px, image_px), Image.Resampling.BICUBIC))


def named_square(product_id: str, decode: Callable[[], Pixels]) -> Pixels:
    """What ``decode`` gives.

    Raises:
        ImageError: the picture cannot be read; names the product.
    """
    try:
        return decode()
    except ImageError as error:
        raise ImageError(
            f"The picture of product {product_id} {error}; such rows are set apart by 'vitrine run --until "
            "catalog_quality'."
        ) from None


def shard_paths(catalogue: Path) -> list[Path]:
    """The product shards of a catalogue folder, in order."""
    return sorted((catalogue / "products").glob("part-*.parquet"))


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """Wait until no other process makes ``file``; a lock goes with the process that holds it."""
    with _locked(file, wait=True):
        yield


@contextmanager
def _locked(file: Path, wait: bool) -> Iterator[bool]:
    """Whether this process holds the lock of ``file``."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


def shared_out(files: Sequence[Path], there: Callable[[Path], bool] = Path.exists) -> Iterator[Path]:
    """Of files those that this process is to make, one after the other; processes that ask alike share them.

    What another process is making is waited for at the end, and comes up only if it has failed there.

    Args:
        there: whether a file has been made.
    """
    elsewhere = []
    for file in files:
        with _locked(file, wait=False) as mine:
            if not mine:
                elsewhere.append(file)
            elif not there(file):
                yield file
    for file in elsewhere:
        with _locked(file, wait=True):
            if not there(file):
                yield file


class PixelCache:
    """Pixels of every product of a catalogue: decoded once and kept, or streamed without keeping them.

    Args:
        catalogue: a catalogue folder. cache: where the arrays are kept. threads: decoding threads.
        further: files of further pictures, a row each, whose places follow those of the products.
    """

    def __init__(
        self, catalogue: Path, image_px: int, cache: Path, threads: int, further: Sequence[Path] = ()
    ) -> None:
        self.image_px, self.threads = image_px, threads
        self._folder = cache / "pixels"
        self.shards = [*shard_paths(catalogue), *further]
        self._starts = np.cumsum([0, *(pq.ParquetFile(s).metadata.num_rows for s in self.shards)])
        self._keys: dict[Path, str] = {}  # a shard is read once for its key
        self._arrays: list[Pixels] | None = None  # until somebody takes some

    def sizes(self) -> list[tuple[Path, int]]:
        """Each shard with its number of products, in order."""
        return list(zip(self.shards, np.diff(self._starts).tolist(), strict=True))

    def key(self, shard: Path) -> str:
        """What decides the pixels of a shard: its bytes and what is done to them."""
        if shard not in self._keys:
            of = f"{sha256_file(shard)} {self.image_px} {VERSION}"
            self._keys[shard] = hashlib.sha256(of.encode()).hexdigest()
        return self._keys[shard]

    def _file(self, shard: Path) -> Path:
        return self._folder / f"{self.key(shard)[:40]}.npy"

    def _kept(self) -> list[Pixels]:
        if self._arrays is None:
            files = [(s, self._file(s)) for s in self.shards]
            self._decode([(s, f) for s, f in files if not f.exists()])
            self._arrays = [np.load(f, mmap_mode="r") for _, f in files]
        return self._arrays

    def _decode(self, todo: Sequence[tuple[Path, Path]]) -> None:
        total = sum(pq.ParquetFile(s).metadata.num_rows for s, _ in todo)
        progress = Progress("decoding pictures", total, "pictures")
        for shard, file in todo:
            with alone(file):
                if not file.exists():  # else another process has just made it
                    self._decode_shard(shard, file, progress)

    def _decode_shard(self, shard: Path, file: Path, progress: Progress) -> None:
        rows = pq.ParquetFile(shard).metadata.num_rows
        with published(file) as temporary:
            shape = (rows, self.image_px, self.image_px, 3)
            array = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
            at = 0
            for batch in self.decoded(shard):
                array[at : at + len(batch)] = batch
                at += len(batch)
                progress.advance(len(batch))
            array.flush()

    def decoded(self, shard: Path) -> Iterator[list[Pixels]]:
        """The pictures of a shard in order, ``ROWS_AT_ONCE`` at a time, decoded afresh.

        While a batch is looked at, threads decode the next one.
        """
        waiting: Iterator[Pixels] | None = None
        with ThreadPoolExecutor(self.threads, initializer=leave_place) as pool:
            for batch in pq.ParquetFile(shard).iter_batches(ROWS_AT_ONCE, columns=["product_id", "image"]):
                ids = batch.column("product_id").to_pylist()
                data = batch.column("image").field("bytes").to_pylist()
                coming = pool.map(self._square, ids, data)
                if waiting is not None:
                    yield list(waiting)
                waiting = coming
            if waiting is not None:
                yield list(waiting)

    def fresh(self, rows: npt.NDArray[np.int64]) -> Iterator[tuple[npt.NDArray[np.int64], Pixels]]:
        """Pictures of catalogue rows, decoded for one look and kept nowhere: places in ``rows``, and pixels.

        For who looks at each picture once: kept pixels of a whole catalogue fill disk and resident memory.
        """
        files = (pq.ParquetFile(shard) for shard in self.shards)
        batches = (b for f in files for b in f.iter_batches(ROWS_AT_ONCE, columns=["product_id", "image"]))
        start = 0
        with ThreadPoolExecutor(self.threads, initializer=leave_place) as pool:
            for batch in batches:
                places = np.flatnonzero((rows >= start) & (rows < start + len(batch)))
                if len(places):
                    some = batch.take(pa.array(rows[places] - start))
                    data = some.column("image").field("bytes").to_pylist()
                    yield places, np.stack(list(pool.map(self._square, some["product_id"].to_pylist(), data)))
                start += len(batch)

    def _square(self, product_id: str, data: bytes | None) -> Pixels:
        return named_square(product_id, lambda: square(data or b"", self.image_px))

    def __len__(self) -> int:
        return int(self._starts[-1])

    def take(self, rows: npt.NDArray[np.int64]) -> Pixels:
        """Pixels ``[len(rows), px, px, 3]`` of catalogue rows, in the order asked for."""
        arrays = self._kept()
        out = np.empty((len(rows), self.image_px, self.image_px, 3), dtype=np.uint8)
        shard = np.searchsorted(self._starts, rows, side="right") - 1
        for s in np.unique(shard):
            chosen = shard == s
            out[chosen] = arrays[s][rows[chosen] - self._starts[s]]
        return out
