"""SIGKILL of ``vitrine``, of the launcher, of ``dvc`` and of a stage, each apart, in the middle of a stage.

Each time every process of the run must be gone soon after, and a rerun must end with the dvc.lock and the
outputs of a run that nobody disturbed.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from tests.flows.toy_workspace import command, environment, make_workspace

pytestmark = pytest.mark.slow
PATIENCE_S = 600.0  # a bound for a machine that is busy with other work, not an expectation
SOON_S = 60.0
VITRINE = ("-m", "flows.cli", "run")
# The same stages through the same runner, without the seconds Prefect takes to start.
STAGES = """
import sys
from pathlib import Path
from flows.run.graph import read_graph
from flows.run.stages import StageJob, run_stage
for name in read_graph(Path.cwd()).stages:
    result = run_stage(StageJob(Path.cwd(), name, "r"))
    sys.exit(f"{name}: {result.error}") if result.state == "failed" else print(name, result.state, flush=True)
"""
RUNNER = ("-c", STAGES)


def until(condition: Callable[[], object], patience_s: float, what: str) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {patience_s} s"
        time.sleep(0.02)


def contents(root: Path) -> dict[str, object]:
    """dvc.lock, every output byte by byte, and what DVC tells git to ignore.

    DVC appends to a new dvc.lock and to .gitignore as stages end; which of two that ran side by side does so
    first is no result.
    """
    files = [p for p in (root / "out").glob("*.*") if p.name != ".gitignore"]
    files += (root / "metrics").glob("*.json")
    found: dict[str, object] = {str(p.relative_to(root)): p.read_bytes() for p in files}
    ignored = (root / "out" / ".gitignore").read_text().splitlines()
    return found | {"lock": yaml.safe_load((root / "dvc.lock").read_text()), "ignored": sorted(ignored)}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    root = make_workspace(tmp_path_factory.mktemp("reference") / "toy")
    command(root, sys.executable, "-m", "dvc", "repro", "-q")
    return contents(root)


class Caught:
    """A run caught at work: the stage ``make`` waits inside its command."""

    def __init__(self, root: Path, arguments: tuple[str, ...], stage: str = "make") -> None:
        self.root, self.flag = root, root / ".vitrine" / "pause" / stage
        self.flag.parent.mkdir(parents=True, exist_ok=True)
        self.flag.touch()
        told = self.flag.with_name(f"{stage}.pid")
        self.runner = psutil.Popen(
            [sys.executable, *arguments],
            cwd=root, env=environment(), start_new_session=True, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        until(
            lambda: self.runner.poll() is not None or (told.exists() and told.read_text()), PATIENCE_S, stage
        )
        assert self.runner.poll() is None, self.runner.communicate()[0]
        self.command = psutil.Process(int(told.read_text()))
        chain = self.command.parents()
        self.dvc = next(
            p for p in chain if "dvc_job" in (line := " ".join(p.cmdline())) and "processes.py" not in line
        )
        self.launcher = next(p for p in chain if "processes.py" in " ".join(p.cmdline()))
        self.processes = [self.runner, *self.runner.children(recursive=True)]
        assert {self.command, self.dvc, self.launcher} < set(self.processes)

    def release(self) -> None:
        self.flag.unlink(missing_ok=True)

    def alive(self) -> list[psutil.Process]:
        return [p for p in self.processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    yield make_workspace(tmp_path / "toy")
    for flag in (tmp_path / "toy" / ".vitrine" / "pause").glob("*"):
        flag.unlink()


@pytest.mark.parametrize("victim", ["vitrine", "runner", "launcher", "dvc", "command"])
def test_sigkill_leaves_no_process_and_a_rerun_ends_as_if_nothing_had_happened(
    victim: str, root: Path, undisturbed: dict[str, object]
) -> None:
    how = VITRINE if victim == "vitrine" else RUNNER
    caught = Caught(root, how)
    (caught.runner if victim == "vitrine" else getattr(caught, victim)).send_signal(signal.SIGKILL)
    stage = {caught.launcher, caught.dvc, caught.command}
    until(
        lambda: not stage & set(caught.alive()),
        SOON_S,
        f"the end of every process of the stage after {victim}",
    )
    output, _ = caught.runner.communicate(timeout=PATIENCE_S)
    until(lambda: not caught.alive(), SOON_S, f"the end of every process after {victim} was killed")
    if victim in ("vitrine", "runner"):
        assert caught.runner.returncode == -signal.SIGKILL
    else:
        assert caught.runner.returncode == 1 and output.startswith("make: "), output
    assert not (root / "out" / "make.json").exists()
    caught.release()
    command(root, sys.executable, *how)
    (root / "out" / "partial.txt").unlink(missing_ok=True)
    assert contents(root) == undisturbed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_every_child_and_the_stage_still_writes_its_record(
    number: signal.Signals, root: Path, undisturbed: dict[str, object]
) -> None:
    caught = Caught(root, VITRINE)
    caught.runner.send_signal(number)
    output, _ = caught.runner.communicate(timeout=PATIENCE_S)
    assert caught.runner.returncode == 130, output
    assert "error: interrupted" in output and "Traceback" not in output
    until(lambda: not caught.alive(), SOON_S, "the end of every process")
    records = [path.read_text() for path in (root / ".vitrine" / "records" / "make").glob("*.json")]
    assert len(records) == 1 and '"exit_code": 130' in records[0]
    caught.release()
    command(root, sys.executable, *RUNNER)
    (root / "out" / "partial.txt").unlink(missing_ok=True)
    assert contents(root) == undisturbed


@pytest.mark.parametrize("after_s", [0.5, 1.2, 1.9, 2.7, 3.6])
def test_a_rerun_after_sigkill_at_any_moment_ends_as_if_nothing_had_happened(
    after_s: float, root: Path, undisturbed: dict[str, object]
) -> None:
    """Wherever it strikes: reading the graph, in a stage, while DVC hashes or writes dvc.lock."""
    runner = subprocess.Popen(
        [sys.executable, "-c", STAGES], cwd=root, env=environment(), stdout=subprocess.DEVNULL
    )
    time.sleep(after_s)
    runner.kill()
    runner.wait()
    command(root, sys.executable, "-c", STAGES)
    (root / "out" / "partial.txt").unlink(missing_ok=True)
    assert contents(root) == undisturbed
