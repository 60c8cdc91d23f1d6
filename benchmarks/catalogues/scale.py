"""How fast a catalogue is imported and built, and how its memory grows with its size.

    python benchmarks/catalogues/scale.py [--quick] [--large] [--part files|sizes] [--work FOLDER]

Every measurement is a process of its own. The peer for building from a folder is Hugging Face ``datasets``
(imagefolder → Parquet with the pictures inside), which decodes nothing and checks nothing. ``--large`` adds
the build of 200,000 products. Prints a table and writes benchmarks/results/catalogue.json.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks/results/catalogue.json"
POOL = 256  # different pictures
SIDE = 224
PARAMS: dict[str, Any] = {
    "seed": 1,
    "workers": 2,
    "rows_per_shard": 4096,
    "images": {"max_bytes": 20_000_000, "max_pixels": 50_000_000, "min_side_px": 16},
    "reencode": None,
    "splits": {"train": 0.8, "validation": 0.1, "test": 0.1},
    "enum_max_values": 200,
    "noise": None,
}
MAPPING: dict[str, Any] = {
    "products": "items.*",
    "fields": {"product_id": "id", "title": "title", "category": "category", "product_type": "type"},
    "image": {"path": "file_name"},
    "attributes": ["colour", "material"],
    "group": "design",
}


def pictures() -> list[bytes]:
    """A pool of JPEGs with photo-like detail, about 10 kB each."""
    import numpy as np
    from PIL import Image, ImageFilter

    found = []
    for number in range(POOL):
        pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(2))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=85)
        found.append(buffer.getvalue())
    return found


def rows(count: int) -> Iterator[dict[str, str]]:
    """Listings in an order that is not that of their ids."""
    for number in range(count):
        mixed = number * 7919 % count
        yield {
            "id": f"p{mixed:07d}",
            "title": f"Product {mixed} of a benchmark, with a title of usual length",
            "category": f"category {mixed % 8}",
            "type": f"type {mixed % 40}",
            "colour": f"colour {mixed % 12}",
            "material": f"material {mixed % 9}",
            "design": f"d{mixed // 3}",
        }


def write_folder(target: Path, count: int) -> None:
    """A source of JSON lines and single picture files, readable by us and as an imagefolder."""
    target.mkdir(parents=True)
    pool = pictures()
    with (target / "items.jsonl").open("w") as handle:
        for number, row in enumerate(rows(count)):
            (target / f"{row['id']}.jpg").write_bytes(pool[number % POOL])
            handle.write(json.dumps({**row, "file_name": f"{row['id']}.jpg"}) + "\n")
    shutil.copy(target / "items.jsonl", target / "metadata.jsonl")


def write_parquet(target: Path, count: int) -> None:
    """A source of one Parquet file with the pictures in its rows."""
    from components.catalog.format.parquet import RowWriter
    from components.catalog.format.records import IMAGE, pa

    target.mkdir(parents=True)
    names = list(next(rows(10)))
    schema = pa.schema([*((name, pa.string()) for name in names), ("image", IMAGE)])
    pool = pictures()
    with RowWriter(target / "items.parquet", schema) as writer:
        for number, row in enumerate(rows(count)):
            data = pool[number % POOL]
            writer.add({**row, "image": {"bytes": data, "path": f"{row['id']}.jpg"}}, len(data))


def run_import(source: Path, target: Path) -> None:
    """Our import: read through the mapping, copy the files."""
    from components.catalog.source.manifest import import_source
    from components.catalog.source.mapping import parse_mapping

    import_source(source, parse_mapping(MAPPING, "benchmark"), target, link=False)


def run_build(source: Path, target: Path) -> None:
    """Our build: stage, sort, group, check every picture, write shards and truth."""
    from components.catalog.build.catalogue import write_catalogue
    from components.catalog.build.opened_source import opened
    from components.catalog.build.params import CatalogParams
    from components.catalog.source.manifest import SourceManifest

    in_rows = (source / "files/items.parquet").is_file()
    mapping = {**MAPPING, "image": {"bytes": "image"}} if in_rows else MAPPING
    params = CatalogParams.model_validate(PARAMS)
    manifest = SourceManifest.model_validate({"kind": "files", "mapping": mapping})
    with opened(manifest, source, params, target / "work") as found:
        write_catalogue(found, params, target / "catalog", target / "truth.parquet")


def run_datasets(source: Path, target: Path) -> None:
    """The peer: Hugging Face datasets, imagefolder to Parquet."""
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    dataset = load_dataset(
        "imagefolder", data_dir=str(source / "files"), split="train", cache_dir=str(target / "cache")
    )
    dataset.to_parquet(str(target / "products.parquet"))


JOBS = {"import": run_import, "build": run_build, "datasets": run_datasets}


def child(job: str, source: Path, target: Path) -> None:
    """Run one job; print seconds (libraries' import included), CPU seconds, and peak memory in MB."""
    start = time.perf_counter()
    JOBS[job](source, target)
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"s": seconds, "cpu_s": used.ru_utime + used.ru_stime, "mb": used.ru_maxrss / 1024}))


def measure(job: str, source: Path, work: Path) -> dict[str, float]:
    """Run one job in a fresh process with a fresh target."""
    target = Path(tempfile.mkdtemp(dir=work))
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment = {
        **os.environ,
        **offline,
        "PYTHONPATH": str(ROOT),
        "HF_HOME": str(work / "hf"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, __file__, "--child", job, str(source), str(target)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    shutil.rmtree(target)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def rate_row(
    case: str, ours: list[float], peer: list[float], peer_name: str, unit: str = "products/s"
) -> dict[str, Any]:
    """A row of rates: medians, their ratio, and the spread of ours."""
    middle = statistics.median(ours)
    other = statistics.median(peer) if peer else None
    return {
        "case": case,
        "ours": round(middle, 1),
        "peer": round(other, 1) if other else None,
        "peer_name": peer_name if other else None,
        "unit": unit,
        "ratio": round(middle / other, 3) if other else None,
        "runs": len(ours),
        "spread": round((max(ours) - min(ours)) / middle, 3),
    }


def memory_row(case: str, ours: float, peer: float, peer_name: str) -> dict[str, Any]:
    """A row of peak memory; the ratio is above 1 when ours is smaller."""
    named = {
        "case": case,
        "ours": round(ours, 1),
        "peer": round(peer, 1),
        "peer_name": peer_name,
        "unit": "MB",
    }
    return {**named, "ratio": round(peer / ours, 3), "runs": 1, "spread": None}


def folder_cases(work: Path, count: int, runs: int) -> list[dict[str, Any]]:
    """Import and build from single files, beside the peer, in alternating runs."""
    source = work / "folder"
    write_folder(source / "files", count)
    jobs = {"import": source / "files", "build": source, "datasets": source}
    if importlib.util.find_spec("datasets") is None:
        del jobs["datasets"]
    wall: dict[str, list[float]] = {job: [] for job in JOBS}
    cpu: dict[str, list[float]] = {job: [] for job in JOBS}
    for _ in range(runs):
        for job, folder in jobs.items():
            found = measure(job, folder, work)
            wall[job].append(count / found["s"])
            cpu[job].append(count / found["cpu_s"])
    built, peer = f"build from {count:,} picture files", "datasets imagefolder"
    return [
        rate_row(f"import of {count:,} picture files", wall["import"], [], ""),
        rate_row(built, wall["build"], wall["datasets"], peer),
        # A machine with other work on it bends the clock, but hardly the CPU time.
        rate_row(f"import of {count:,} picture files", cpu["import"], [], "", "products/CPU-s"),
        rate_row(built, cpu["build"], cpu["datasets"], peer, "products/CPU-s"),
    ]


def size_cases(work: Path, sizes: list[int]) -> list[dict[str, Any]]:
    """Build from Parquet at growing sizes; memory is held against that of the smallest."""
    found, first = [], 0.0
    for count in sizes:
        source = work / f"parquet-{count}"
        write_parquet(source / "files", count)
        result = measure("build", source, work)
        shutil.rmtree(source)
        case = f"build from Parquet, {count:,} products"
        found.append(rate_row(case, [count / result["s"]], [], ""))
        found.append(rate_row(case, [count / result["cpu_s"]], [], "", "products/CPU-s"))
        first = first or result["mb"]
        name = f"ours at {sizes[0]:,} products"
        found.append(memory_row(f"peak memory of building {count:,} products", result["mb"], first, name))
    return found


def show(table: list[dict[str, Any]]) -> None:
    """Print the rows."""
    from rich.console import Console
    from rich.table import Table

    view = Table(*table[0])
    for row in table:
        view.add_row(
            *(
                "" if value is None else f"{value:,}" if value != str(value) else value
                for value in row.values()
            )
        )
    Console(width=150).print(view)


def main() -> None:
    """Measure, print, and write the results file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, one run each; writes no results file"
    )
    parser.add_argument("--large", action="store_true", help="add 200,000 products")
    parser.add_argument(
        "--part", choices=("files", "sizes"), help="picture files with the peer, or growing sizes"
    )
    parser.add_argument("--work", type=Path, help="folder for sources and outputs (default: the system's)")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        return child(arguments.child[0], Path(arguments.child[1]), Path(arguments.child[2]))
    table: list[dict[str, Any]] = []
    sizes = [500, 2000] if arguments.quick else [20_000, *([200_000] if arguments.large else [])]
    with tempfile.TemporaryDirectory(dir=arguments.work) as work:
        if arguments.part != "sizes":
            table += folder_cases(Path(work), 300 if arguments.quick else 4000, 1 if arguments.quick else 3)
        if arguments.part != "files":
            table += size_cases(Path(work), sizes)
    show(table)
    if not arguments.quick:
        save(table)
    return None


def save(table: list[dict[str, Any]]) -> None:
    """Write the results file; rows that were not measured this time stay."""
    measured = {(row["case"], row["unit"]) for row in table}
    known = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    kept = [row for row in known if (row["case"], row["unit"]) not in measured]
    RESULTS.write_text(json.dumps([*kept, *table], indent=1) + "\n")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
