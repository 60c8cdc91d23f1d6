"""Picture features from JPEG: beside a plain loop of timm's, read a second time, and their need of memory.

* ``first pass``: every picture of a catalogue is decoded, shrunk to 160 px and seen by the frozen tower, with
  the means of all its stages and colour statistics; nothing is in the cache. The peer is timm's model and
  transform in a ``DataLoader`` of one worker process, in batches of 64 and bfloat16 (``timm_fp32``: without
  it), and gives the pooled end alone. Runs alternate; both sides have two threads. Medians over ``--runs``.
* ``second pass``: opening the kept features and taking them all.
* ``memory``: the largest anonymous memory (what a process holds for itself) and the largest resident memory
  (with the pages of mapped files, which the system may take back) of a process that makes the features of
  10,000 products and of ``--many``, then reads them in batches. Pictures of 32 px: memory depends on rows and
  width, not on pixels.

Run: ``python -m benchmarks.features [--parts rates memory] [--products 2000] [--runs 3] [--many 200000]
[--quick]``; prints a table and writes ``benchmarks/results/features.json``, where a part that was not
measured keeps its rows.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.training import write_catalogue, write_pictures
from components.catalog.format.records import Product
from components.catalog.format.shards import CatalogueWriter
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.picture_features import FeatureCache
from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.params import EncoderParams
from components.encoder.model.towers.start import starting_model
from components.encoder.model.towers.weights import load_image_trunk
from components.stage.resources.accelerator import autocast
from components.stage.resources.memory import keep_freed_memory

RESULTS = Path("benchmarks/results/features.json")
PARTS = ("rates", "memory")
BATCH, THREADS, SMALL_PX, FEW = 64, 2, 32, 10_000


def features_of(catalogue: Path, cache: Path, params: EncoderParams) -> FeatureCache:
    """Features of a catalogue's pictures, made where the cache has none."""
    encoder = BatchEncoder(starting_model(params), BATCH, "bf16")
    return FeatureCache(PixelCache(catalogue, params.image_px, cache, THREADS), encoder, cache)


def seconds_of_ours(catalogue: Path, cache: Path) -> tuple[float, float]:
    """Seconds of the first and of the second pass; loading the weights counts in neither."""
    params = EncoderParams()
    encoder = BatchEncoder(starting_model(params), BATCH, "bf16")
    taken = []
    for _ in range(2):
        start = time.perf_counter()
        found = FeatureCache(PixelCache(catalogue, params.image_px, cache, THREADS), encoder, cache)
        for first in range(0, len(found), 4096):
            found.take(np.arange(first, min(first + 4096, len(found))))
        taken.append(time.perf_counter() - start)
    return taken[0], taken[1]


class _Files(torch.utils.data.Dataset[torch.Tensor]):
    """Pictures of a list of files through timm's transform."""

    def __init__(self, files: list[Path], transform: Any) -> None:
        self.files, self.transform = files, transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place: int) -> torch.Tensor:
        from PIL import Image

        with Image.open(self.files[place]) as image:
            tensor: torch.Tensor = self.transform(image.convert("RGB"))
        return tensor


def seconds_of_timm(files: list[Path], precision: str) -> float:
    """Seconds of a plain loop: a model without its classifier, a loader, batches."""
    import timm
    from timm.data import create_transform, resolve_data_config

    image = EncoderParams().model.image
    assert image.weights is not None
    side = EncoderParams().image_px
    holder = torch.nn.Module()
    holder.trunk = timm.create_model(image.architecture, num_classes=0)
    load_image_trunk(holder, image.architecture, image.weights)
    model = holder.trunk.eval().to(memory_format=torch.channels_last)
    transform = create_transform(**resolve_data_config({"input_size": (3, side, side)}, model=model))
    start = time.perf_counter()
    loader = torch.utils.data.DataLoader(_Files(files, transform), batch_size=BATCH, num_workers=1)
    with torch.inference_mode(), autocast(torch.device("cpu"), precision):
        found = [model(batch.to(memory_format=torch.channels_last)).float() for batch in loader]
    assert sum(map(len, found)) == len(files)
    return time.perf_counter() - start


def write_small(folder: Path, count: int) -> None:
    """A catalogue of ``count`` products that share a thousand small pictures."""
    import io

    from PIL import Image

    rng = np.random.default_rng(1)
    encoded = []
    for _ in range(1000):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (SMALL_PX, SMALL_PX, 3), dtype=np.uint8)).save(buffer, "JPEG")
        encoded.append(buffer.getvalue())
    with CatalogueWriter(folder, rows_per_shard=4096) as writer:
        for i in range(count):
            texts = {"title": "", "category": "c", "product_type": "t", "group_id": f"g{i}", "split": "train"}
            writer.add(Product(product_id=f"p{i:07d}", image=encoded[i % 1000], **texts))


@contextmanager
def watched() -> Iterator[dict[str, float]]:
    """The largest anonymous and resident memory while inside, MiB."""
    most = {"RssAnon": 0.0, "VmRSS": 0.0}
    done = threading.Event()

    def _look() -> None:
        while not done.is_set():
            for line in Path("/proc/self/status").read_text().splitlines():
                name, _, value = line.partition(":")
                if name in most:
                    most[name] = max(most[name], int(value.split()[0]) / 1024)
            done.wait(0.05)

    looking = threading.Thread(target=_look)
    looking.start()
    try:
        yield most
    finally:
        done.set()
        looking.join()


def memory_of(catalogue: Path, cache: Path, answer: Any) -> None:
    """Make the features of a catalogue, then read them in random batches; sends what was needed."""
    torch.set_num_threads(THREADS)
    keep_freed_memory()
    start = time.perf_counter()
    with watched() as making:
        found = features_of(catalogue, cache, EncoderParams(image_px=SMALL_PX))
    made = time.perf_counter() - start
    order = np.random.default_rng(0).permutation(len(found))
    with watched() as reading:
        for first in range(0, len(order), 512):
            found.take(order[first : first + 512])
    answer.send({"products": len(found), "seconds": made, "making": making, "reading": reading})


def memory_rows(work: Path, sizes: list[int]) -> Iterator[dict[str, Any]]:
    """One process per size of catalogue."""
    for size in sizes:
        write_small(work / f"small{size}", size)
        context = multiprocessing.get_context("spawn")
        mine, theirs = context.Pipe()
        process = context.Process(
            target=memory_of, args=(work / f"small{size}", work / f"kept{size}", theirs)
        )
        process.start()
        theirs.close()  # else a child that is killed never ends the pipe
        try:
            found = mine.recv()
        except EOFError:
            process.join()
            raise SystemExit(f"The process of {size:,} products ended with {process.exitcode}.") from None
        process.join()
        for doing in ("making", "reading"):
            row = {"case": f"memory {doing}", "products": size, "unit": "MiB"}
            needs = found[doing]
            yield row | {"anonymous": round(needs["RssAnon"]), "resident": round(needs["VmRSS"])}


def rate_rows(work: Path, products: int, runs: int) -> list[dict[str, Any]]:
    """Pictures a second of both, runs alternating."""
    (work / "jpeg").mkdir()
    pictures = write_pictures(work / "jpeg", products)
    write_catalogue(work / "catalogue", pictures)
    files = [file for file, _ in pictures]
    times: dict[str, list[float]] = {"first": [], "second": [], "bf16": [], "fp32": []}
    for run in range(runs):
        first, second = seconds_of_ours(work / "catalogue", work / f"cache{run}")
        times["first"].append(first)
        times["second"].append(second)
        for precision in ("bf16", "fp32"):
            times[precision].append(seconds_of_timm(files, precision))
    rate = {name: products / statistics.median(t) for name, t in times.items()}
    shown = {name: round(value, 1) for name, value in rate.items()}
    base = {"unit": "pictures/s", "runs": runs, "products": products}
    return [
        {"case": "first pass", "ours": shown["first"], "peer": shown[p], "peer_name": f"timm_{p}"}
        | {"ratio": round(rate["first"] / rate[p], 2)}
        | base
        for p in ("bf16", "fp32")
    ] + [
        {"case": "second pass", "ours": shown["second"], "peer": shown["first"], "peer_name": "first pass"}
        | {"ratio": round(rate["second"] / rate["first"], 1)}
        | base
    ]


def keep(rows: list[dict[str, Any]], parts: list[str]) -> None:
    """Write the rows of the parts that were measured, beside the old rows of the other."""
    old = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    found: dict[str, list[dict[str, Any]]] = {part: [] for part in PARTS}
    for row in [r for r in old if part_of(r) not in parts] + rows:
        found[part_of(row)].append(row)
    RESULTS.write_text(json.dumps([row for part in PARTS for row in found[part]], indent=1) + "\n")


def part_of(row: dict[str, Any]) -> str:
    """The part that a row belongs to."""
    return "memory" if row["case"].startswith("memory") else "rates"


def main() -> None:
    """Measure, print a table, write ``benchmarks/results/features.json``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--products", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--many", type=int, default=200_000)
    parser.add_argument("--quick", action="store_true", help="a smoke run; writes nothing")
    arguments = parser.parse_args()
    sizes = [64, 128] if arguments.quick else [FEW, arguments.many]
    if arguments.quick:
        arguments.products, arguments.runs = 64, 1
    torch.set_num_threads(THREADS)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as name:
        work, rows = Path(name), []
        measured = {
            "rates": lambda: iter(rate_rows(work, arguments.products, arguments.runs)),
            "memory": lambda: memory_rows(work, sizes),
        }
        for row in (row for part in arguments.parts for row in measured[part]()):
            print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
            rows.append(row)
    if not arguments.quick:
        keep(rows, arguments.parts)


if __name__ == "__main__":
    main()
