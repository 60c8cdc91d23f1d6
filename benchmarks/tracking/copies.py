"""A workspace of its own with the records of another one, and synthetic copies of them, ready to publish.

A copy is a pipeline run hours earlier, of all systems or of some, by an earlier commit, with figures moved a
bit and models of its own. Files lie in a cache of links to the other workspace's; nothing there is written.
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.stage.record import STATE, Record
from components.tracking.lineage.lockfile import (
    Output,
    cache_folder,
    composed,
    listing,
    listing_md5,
    located,
)
from components.tracking.publish.pending import Join, Pipeline, key_of
from components.tracking.publish.run_content import room_of

APART_S = 3 * 3600.0  # between the beginnings of two copies
MOVED = 0.03  # spread of a copy's figures around the real ones, as a share
# What a copy ran, in turn; OTHERS stands for stages of the catalogue and of no system.
SYSTEMS = (("vlclip",), ("fusion",), ("opal",), ("encoder", "vlclip"), ("fusion",), ("vlclip",), ())
RATES = {"vlclip": "vlclip.training.lr", "fusion": "fuse.training.lr", "opal": "sft.training.lr"}


@dataclass(frozen=True)
class Execution:
    """One execution of a stage as a workspace has kept it."""

    record: Record
    join: Join


def executions(root: Path) -> list[Execution]:
    """The finished executions of the workspace's largest pipeline run, the first first."""
    joins = [Join.model_validate_json(path.read_bytes()) for path in (root / STATE / "joined").glob("*.json")]
    of = {join.record: join for join in joins if join.entry is not None}
    files = (root / STATE / "records").rglob("*.json")
    records = [Record.model_validate_json(path.read_bytes()) for path in files if path.stem in of]
    if not records:
        raise SystemExit(f"{root} has no records of runs: vitrine run first.")
    stages = Counter(join.pipeline for join in of.values())
    largest = max(stages, key=lambda pipeline: stages[pipeline])
    found = [Execution(record, of[record.id]) for record in records if of[record.id].pipeline == largest]
    return sorted(found, key=lambda one: one.record.started)


def prepare(source: Path, target: Path) -> None:
    """Make an empty workspace beside ``source``, with its parameters and its cache as links."""
    (target / ".dvc").mkdir(parents=True)
    for name in ("params.yaml", "dvc.lock"):
        (target / name).write_bytes((source / name).read_bytes())
    held, links = cache_folder(source) / "files/md5", target / ".dvc/cache/files/md5"
    for path in held.glob("*/*"):
        place = links / path.parent.name / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(path.resolve())


def add_copy(source: Path, target: Path, real: list[Execution], number: int) -> int:
    """Leave the records of copy ``number`` in ``target``, number 0 as they are; how many there are."""
    chosen = list(_chosen(real, number)) if number else real
    chosen = chosen or real  # nothing of these systems has run there
    pipeline = real[0].join.pipeline if number == 0 else f"copy-{number}"
    hashes = {} if number == 0 else _renewed(source, target, chosen, number)
    for out in (out for one in chosen for out in (one.join.entry.outs if one.join.entry else ())):
        if out.path.startswith("metrics/"):  # in git, not in the cache
            for file in located(source, out).values():
                kept(target, file.read_bytes())
    commits = _commits(source)
    code = real[0].join.code
    if number:
        code = code.model_copy(update={"commit": commits[number % len(commits)], "dirty": False})
    changed = _changed(chosen, number)
    for one in chosen:
        name = one.record.id if number == 0 else _md5(f"{one.record.id} {number}")
        shift = number * APART_S
        moved = {"id": name, "parent": pipeline, "started": one.record.started - shift}
        record = one.record.model_copy(update=moved)
        _write(target / STATE / "records" / record.stage / f"{name}.json", _replaced(record, hashes))
        moved = {"record": name, "pipeline": pipeline, "started": record.started, "code": code}
        join = one.join.model_copy(update=moved)
        _write(target / STATE / "joined" / f"{name}.json", _replaced(join, hashes))
    first = chosen[0].join
    noted = Pipeline(
        pipeline=pipeline, code=code, profile=first.profile, catalogue=first.catalogue, changed=changed
    )
    _write(target / STATE / "pipelines" / f"{key_of(pipeline)}.json", noted.model_dump_json())
    return len(chosen)


def _chosen(real: list[Execution], number: int) -> Iterator[Execution]:
    wanted = SYSTEMS[number % len(SYSTEMS)]
    return (one for one in real if not wanted or room_of(one.join) in wanted)


def _changed(chosen: list[Execution], number: int) -> dict[str, str]:
    rooms = {room_of(one.join) for one in chosen} if number else set()
    return {name: f"{1e-4 * (1 + number % 5):g}" for room, name in RATES.items() if room in rooms}


def _renewed(source: Path, target: Path, chosen: list[Execution], number: int) -> dict[str, str]:
    """Old -> new hash of the copy's models and metrics; the new contents are in the target's cache."""
    chance, hashes = random.Random(number), {}
    mark = kept(target, f"copy {number}\n".encode())
    entries = [one.join.entry for one in chosen if one.join.entry]
    models: dict[str, dict[str, str]] = {}  # folder -> its files in this copy
    for out in (out for entry in entries for out in entry.outs):
        if out.path.startswith("models/") and out.md5.endswith(".dir"):
            models[out.path] = listing(source, out) | {"copy.txt": mark}
            hashes[out.md5] = kept_listing(target, models[out.path])
        elif out.path.startswith("metrics/"):
            hashes |= _moved(source, target, out, chance)
    for dep in (dep for entry in entries for dep in entry.deps):  # a folder around several models
        inside = {f"{path.removeprefix(f'{dep.path}/')}/": files for path, files in models.items()}
        inside = {place: files for place, files in inside.items() if not place.startswith("models/")}
        if inside and dep.md5 not in hashes:
            old = listing(source, dep) or composed(source, dep)
            unmoved = {name: md5 for name, md5 in old.items() if not name.startswith(tuple(inside))}
            new = {f"{place}{name}": md5 for place, files in inside.items() for name, md5 in files.items()}
            hashes[dep.md5] = kept_listing(target, unmoved | new)
    return hashes


def _moved(source: Path, target: Path, out: Output, chance: random.Random) -> dict[str, str]:
    """A metrics file whose figures are moved by one factor for each of its rows."""
    found = located(source, out)
    if not found:
        return {}
    table = json.loads(next(iter(found.values())).read_bytes())
    for variant, row in table.items():
        factor = 1 + chance.gauss(0, MOVED)
        if isinstance(row, dict) and not variant.startswith("_"):
            table[variant] = {key: _scaled(cell, factor) for key, cell in row.items()}
        elif isinstance(row, int | float):
            table[variant] = min(1.0, row * factor)
    return {out.md5: kept(target, json.dumps(table).encode())}


def _scaled(cell: Any, factor: float) -> Any:
    if not isinstance(cell, dict):
        return cell
    moved = {k: min(1.0, cell[k] * factor) for k in ("value", "low", "high") if cell.get(k) is not None}
    return cell | moved


def _replaced(value: Record | Join, hashes: Mapping[str, str]) -> str:
    text = value.model_dump_json()
    for old, new in hashes.items():
        text = text.replace(old, new)
    return text


def _commits(source: Path) -> list[str]:
    command = ["git", "log", "--format=%H", "-n", "60"]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    return done.stdout.split() or ["0" * 40]


def kept(target: Path, content: bytes) -> str:
    """Put contents into the target's cache; their hash."""
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return _keep(target, md5, content)


def kept_listing(target: Path, files: Mapping[str, str]) -> str:
    """Put the listing of a folder into the target's cache; its hash."""
    items = [{"md5": md5, "relpath": name} for name, md5 in sorted(files.items())]
    return _keep(target, listing_md5(files), json.dumps(items).encode())


def _keep(target: Path, md5: str, content: bytes) -> str:
    place = target / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return md5


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
