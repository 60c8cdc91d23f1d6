"""A campaign of kills: SIGKILL at seeded moments of eight operations; each must then end as if nothing was.

Each operation is timed, undisturbed. Then, in a fresh copy of its workspace, it is killed at a moment
drawn evenly from that time. Every process it leaves must be gone soon; it is done again, and the state must
be that of the undisturbed one. The table of docs/reliability.md: ``python -m tests.e2e.test_kill_campaign``.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from PIL import Image
from rich.console import Console

from tests.flows.toy_workspace import PROJECT, command, environment, make_workspace
from tests.unit.tracking.conftest import Workspace

pytestmark = pytest.mark.slow
SOON_S = 60.0  # until what a killed process has started must be gone
QUIET = Console(quiet=True)
PRODUCTS = 12
MAPPING = """products: items.csv
fields: {product_id: sku, title: name, category: department, product_type: kind}
image: {path: photo, folder: photos}
attributes: []
"""
FORK = multiprocessing.get_context("fork")  # what is imported here is not imported for each kill


# --- what is done, in a folder that a ``prepare`` has filled ---


def run(root: Path) -> None:
    """Every stage, as ``vitrine run`` does, without Prefect."""
    from flows.run.graph import read_graph
    from flows.run.stages import StageJob, run_stage

    for name in read_graph(root).stages:
        result = run_stage(StageJob(root, name, "r"))
        assert result.state != "failed", result.error


def whole_run(root: Path) -> None:
    """``vitrine run``: Prefect's server, its flow, DVC and the stages, and the records into MLflow."""
    from flows.options import RunRequest
    from flows.run.command import run as start_run

    start_run(root, RunRequest(), QUIET)


def import_(root: Path) -> None:
    """A catalogue with pictures into the worktree of a profile, and its commit."""
    from flows.importing import ImportRequest, import_source

    import_source(root, ImportRequest(root.parent / "shop", root.parent / "shop.yaml"), "small", QUIET)


def worktree(root: Path) -> None:
    """The worktree of a profile."""
    from components.parameters.profiles import profile_text
    from flows.profiles import prepare_worktree

    prepare_worktree(root, "small", profile_text(root, "small"))


def commit(root: Path) -> None:
    """A commit of many files in a worktree; git itself is killed, not we."""
    from flows.profiles import commit_worktree

    commit_worktree(root / ".vitrine" / "work" / "small", "Results")


def collect(root: Path) -> None:
    """``vitrine gc --force``: old logs, and objects of DVC's cache that nothing needs."""
    from flows.garbage import Cleaning
    from flows.garbage import collect as clean

    clean(root, Cleaning(days=0.0, force=True), QUIET)


def sync(root: Path) -> None:
    """Records into MLflow."""
    from components.tracking.publish.publish import publish

    result = publish(root)
    assert not result.waiting and not result.warnings, result.warnings


def register(root: Path) -> None:
    """A model into the registry."""
    from components.tracking.registry.registry import register as put

    put(root, "encoder", Path("models/encoder"), "challenger")


def promote(root: Path) -> None:
    """An alias to a version."""
    from components.tracking.registry.registry import promote as point

    point(root, "encoder", "challenger", "champion")


# --- where it is done ---


def toy(folder: Path) -> None:
    """A workspace with nothing computed, and a catalogue beside it."""
    make_workspace(folder / "toy")
    photos = folder / "shop" / "photos"
    photos.mkdir(parents=True)
    rows = ["sku,name,department,kind,photo"]
    for i in range(PRODUCTS):
        Image.new("RGB", (64, 64), (i * 20, 40, 90)).save(photos / f"{i}.png")
        rows.append(f"p{i},Mug number {i},Kitchen,mug,{i}.png")
    (folder / "shop" / "items.csv").write_text("\n".join(rows) + "\n")
    (folder / "shop.yaml").write_text(MAPPING)


def toy_to_commit(folder: Path) -> None:
    """The same with a worktree full of new files."""
    toy(folder)
    worktree(folder / "toy")
    new = folder / "toy" / ".vitrine" / "work" / "small" / "results"
    new.mkdir()
    for i in range(1500):
        (new / f"{i}.txt").write_text(f"{i}\n" * 200)


def toy_to_clean(folder: Path) -> None:
    """The same, run, with objects in the cache that nothing needs, and old logs."""
    toy(folder)
    run(folder / "toy")
    command(folder / "toy", "git", "add", "-A")
    command(folder / "toy", "git", "commit", "-q", "-m", "results")
    cache = folder / "toy" / ".dvc" / "cache" / "files" / "md5"
    for i in range(400):
        loose = cache / f"{i % 256:02x}" / f"{i:030x}"
        loose.parent.mkdir(parents=True, exist_ok=True)
        loose.write_text(str(i))
        log = folder / "toy" / ".vitrine" / "logs" / f"run-{i}" / "make.log"
        log.parent.mkdir(parents=True)
        log.write_text("x")
        os.utime(log, (0, 0))
        os.utime(log.parent, (0, 0))


def recorded(folder: Path, last: Callable[[Path], None] | None = None) -> None:
    """A workspace with records, a store, and what ``last`` does after the records are published."""
    made = Workspace(folder / "toy")
    made.pipeline(parent="p0")
    sync(made.root)
    if last is None:
        made.pipeline(parent="p1", seed=1)
    else:
        last(made.root)


def published(folder: Path) -> None:
    """A workspace whose records are in MLflow."""
    recorded(folder, lambda root: None)


def registered(folder: Path) -> None:
    """The same with a registered model."""
    recorded(folder, register)


# --- what is compared ---


def files_below(root: Path, *patterns: str) -> dict[str, bytes]:
    found = {p for pattern in patterns for p in root.glob(pattern) if p.is_file() and not p.is_symlink()}
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(found)}


def computed(root: Path) -> object:
    lock = yaml.safe_load((root / "dvc.lock").read_text())
    ignored = sorted((root / "out" / ".gitignore").read_text().splitlines())
    return files_below(root, "out/*.json", "out/note.txt", "metrics/*.json"), lock, ignored


def committed(root: Path) -> object:
    tree = command(root, "git", "rev-parse", "profile/small^{tree}").stdout
    work = root / ".vitrine" / "work" / "small"
    return (
        tree,
        command(work, "git", "status", "--porcelain").stdout,
        files_below(work, "data/**/*", "data/**/.*"),
    )


def laid_out(root: Path) -> object:
    work = root / ".vitrine" / "work" / "small"
    head = command(work, "git", "rev-parse", "HEAD").stdout
    tracked = command(work, "git", "status", "--porcelain").stdout
    return (
        head,
        tracked,
        files_below(work, "*", "toy/*", "conf/*", ".dvc/config*"),
        list(work.parent.glob(".*")),
    )


def cleaned(root: Path) -> object:
    up = command(root, sys.executable, "-m", "dvc", "status").stdout
    return up, files_below(root, ".dvc/cache/files/**/*", ".vitrine/logs/**/*", "out/*")


def in_mlflow(root: Path) -> object:
    """Read in a process of its own: MLflow keeps databases open, and what is forked here would share them."""
    with FORK.Pool(1) as pool:
        return pool.apply(_in_mlflow, (root,))


def _in_mlflow(root: Path) -> object:
    from components.tracking.publish.pending import pending
    from components.tracking.store import connect, experiments_of, store_of

    store = store_of(root)
    client = connect(store)
    runs = client.search_runs(list(experiments_of(client, "vitrine")))
    told = sorted(
        (r.info.run_name, r.info.status, sorted(r.data.metrics), sorted(r.data.params)) for r in runs
    )
    versions = []
    for model in client.search_registered_models():
        versions += [(model.name, sorted(model.aliases.items()))]
        versions += [(v.version, v.status) for v in client.search_model_versions(f"name='{model.name}'")]
    return told, sorted(versions, key=str), pending(root)


@dataclass(frozen=True)
class Campaign:
    """An operation: how often it is killed, what it needs, and what must come out."""

    action: Callable[[Path], None]
    kills: int
    prepare: Callable[[Path], None]
    outcome: Callable[[Path], object]
    victim: str = ""  # name of the child that is killed; "": the operation's own process
    imports: tuple[str, ...] = ()


TRACKED = (
    "mlflow.tracking",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.artifact.local_artifact_repo",
    "components.tracking.registry.registry",
    "components.tracking.publish.publish",
)
CAMPAIGNS = {
    "run": Campaign(whole_run, 4, toy, computed),
    "import": Campaign(import_, 5, toy, committed, imports=("flows.importing",)),
    "register": Campaign(register, 20, published, in_mlflow, imports=TRACKED),
    "promote": Campaign(promote, 22, registered, in_mlflow, imports=TRACKED),
    "sync": Campaign(sync, 20, recorded, in_mlflow, imports=TRACKED),
    "gc": Campaign(
        collect, 10, toy_to_clean, cleaned, imports=("flows.garbage", "dvc.repo.index", "dvc.cachemgr")
    ),
    "worktree": Campaign(worktree, 14, toy, laid_out, imports=("flows.profiles",)),
    "git": Campaign(commit, 12, toy_to_commit, committed, victim="git", imports=("flows.profiles",)),
}


@dataclass
class Row:
    """What came of the kills of one operation."""

    name: str
    kills: int = 0
    struck: int = 0  # came before the end
    left: int = 0  # something it had started was still there after a minute
    refused: int = 0  # could not be done again
    differs: int = 0  # done again, with another state than undisturbed
    seconds: float = 0.0  # of the operation, undisturbed

    def __str__(self) -> str:
        counts = (self.kills, self.struck, self.left, self.refused, self.differs)
        return f"| {self.name} | {self.seconds:.1f} | {' | '.join(map(str, counts))} |"


def _child(action: Callable[[Path], None], root: Path) -> None:
    """In a process of its own, as ``vitrine`` is: a session, the workspace as its folder."""
    os.setsid()
    os.chdir(root)
    given = environment()
    os.environ.clear()
    os.environ.update(given)
    log = os.open(root.parent / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    action(root)


def start(action: Callable[[Path], None], root: Path) -> Any:
    process = FORK.Process(target=_child, args=(action, root))
    process.start()
    return process


def strike(process: Any, victim: str, delay_s: float) -> bool:
    """Kill it, or its next child called ``victim``, after a delay; False: it was done before."""
    process.join(delay_s)
    while process.is_alive():
        with contextlib.suppress(psutil.Error):
            whole = psutil.Process(process.pid)
            found = [p for p in whole.children(recursive=True) if p.name() == victim] if victim else [whole]
            if found:
                found[0].send_signal(signal.SIGKILL)
                return True
        time.sleep(0.0005)
    return False


def campaign(name: str, folder: Path, kills: int | None = None) -> Row:
    """Do one campaign in ``folder``."""
    plan, row, moments = CAMPAIGNS[name], Row(name), random.Random(name)
    for module in plan.imports:
        importlib.import_module(module)
    kept, here = folder / "kept", folder / "here"  # absolute paths in git and MLflow: always the same folder
    here.mkdir(parents=True)
    maker = start(plan.prepare, here)
    maker.join()
    assert maker.exitcode == 0, "the workspace could not be made"
    here.rename(kept)
    wanted, row.seconds = None, math.inf
    for turn in range(-1, 1 + (plan.kills if kills is None else kills)):  # twice undisturbed, for its time
        shutil.rmtree(here, ignore_errors=True)
        shutil.copytree(kept, here, symlinks=True)
        root = here / "toy"
        if turn > 0:
            row.kills += 1
            process = start(plan.action, root)
            row.struck += strike(process, plan.victim, moments.uniform(0.0, row.seconds))
            process.join()
            row.left += not gone(here)
            age_locks(root)
        begun = time.perf_counter()
        again = start(plan.action, root)
        again.join()
        if turn <= 0:
            row.seconds = min(row.seconds, time.perf_counter() - begun)
        if again.exitcode:
            print(name, turn, (here / "log").read_text()[-2000:], file=sys.stderr)
            assert turn > 0, "it fails undisturbed"
            row.refused += 1
            continue
        found = plan.outcome(root)
        wanted = found if wanted is None else wanted
        if found != wanted:
            row.differs += 1
            print(name, turn, "differs:", difference(wanted, found), file=sys.stderr)
    return row


def difference(wanted: object, found: object) -> str:
    one, two = (json.dumps(x, default=str, indent=0).splitlines() for x in (wanted, found))
    gained, lost = [x for x in two if x not in one], [x for x in one if x not in two]
    return f"gained {gained[:8]}, lost {lost[:8]}"[:1500]


def gone(folder: Path) -> bool:
    """Whether every process that works below ``folder`` ends soon."""
    deadline = time.monotonic() + SOON_S
    while any(_works_in(process, folder) for process in psutil.process_iter(["cwd", "status"])):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _works_in(process: psutil.Process, folder: Path) -> bool:
    place, zombie = process.info["cwd"], process.info["status"] == psutil.STATUS_ZOMBIE
    return not zombie and bool(place) and Path(place).is_relative_to(folder)


def age_locks(root: Path) -> None:
    """Git's locks are taken away once they are old; do not wait for it."""
    for lock in (root / ".git").rglob("*.lock"):
        with contextlib.suppress(FileNotFoundError):
            os.utime(lock, (0, 0))


@pytest.mark.parametrize("name", sorted(CAMPAIGNS))
def test_what_is_killed_is_done_again_as_if_nothing_had_happened(name: str, tmp_path: Path) -> None:
    row = campaign(name, tmp_path)
    assert (row.left, row.refused, row.differs) == (0, 0, 0), row
    assert row.struck >= row.kills // 4, f"too few kills came in time: {row}"


def test_the_campaign_has_a_hundred_kills() -> None:
    assert sum(plan.kills for plan in CAMPAIGNS.values()) >= 100


def main(names: list[str]) -> None:
    """Print the table; ``NAME`` or ``NAME=KILLS`` for some of it."""
    os.chdir(PROJECT)
    print("| operation | s | kills | struck | left | refused | differs |\n|---|---|---|---|---|---|---|")
    for name, _, kills in (word.partition("=") for word in names or CAMPAIGNS):
        with tempfile.TemporaryDirectory() as folder:
            print(campaign(name, Path(folder).resolve(), int(kills) if kills else None), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
