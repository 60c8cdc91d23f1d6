"""A stage of the GPU pool runs in a second clone and comes back through DVC's run cache.

A real Prefect server on loopback (with authentication), a real process worker, two clones of a small
project and a folder as DVC remote. The deployment is the one prefect.yaml describes.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
PASSWORD = "admin:for-this-test-only"

TOY = """
import os, sys, time
from pathlib import Path
import yaml
from components.stage.frame import work
from components.stage.errors import InvalidDataError
from components.stage.files.publish import write_text

def params():
    return yaml.safe_load(Path("params.yaml").read_text())

def prepare(record):
    write_text(Path("data/prepared/part.txt"), str(params()["size"]))

def train(record):
    settings = params()["train"]
    record.parameters = {"workspace": str(Path.cwd())}
    record.metrics = {"loss": 0.25}
    Path(".vitrine/trained-here").touch()
    if settings["fail"]:
        raise InvalidDataError("data/prepared/part.txt row 1 is not a number; correct it.")
    time.sleep(settings["sleep"])
    size = int(Path("data/prepared/part.txt").read_text())
    write_text(Path("model/weights.txt"), str(size * settings["factor"]))

commands = {"prepare": prepare, "train": train, "measure": train}
sys.exit(work(commands[sys.argv[1]], os.environ["DVC_STAGE"]))
"""
PARAMS = {"size": 3, "train": {"factor": 2, "fail": False, "sleep": 0}}
GRAPH = {
    "stages": {
        "prepare": {
            "cmd": f"{sys.executable} toy.py prepare", "deps": ["toy.py"], "params": ["size"],
            "outs": ["data/prepared"],
        },
        "train": {
            "cmd": f"{sys.executable} toy.py train", "deps": ["toy.py", "data/prepared"], "params": ["train"],
            "outs": ["model"], "meta": {"pool": "gpu"},
        },
        "measure": {
            "cmd": f"{sys.executable} toy.py measure", "deps": ["toy.py"],
            "outs": [{"metrics.json": {"cache": False}}], "meta": {"pool": "gpu"},
        },
    }
}  # fmt: skip


def call(*command: str, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def clone_of(source: Path, target: Path, remote: Path) -> Path:
    call("git", "clone", "--quiet", str(source), str(target), cwd=source.parent)
    call(
        sys.executable,
        "-m",
        "dvc",
        "remote",
        "add",
        "--local",
        "--default",
        "storage",
        str(remote),
        cwd=target,
    )
    return target


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare repository with the toy project."""
    root = tmp_path_factory.mktemp("origin") / "toy"
    root.mkdir()
    call("git", "init", "--quiet", "--initial-branch=main", cwd=root)
    call("git", "config", "user.email", "toy@example.org", cwd=root)
    call("git", "config", "user.name", "Toy", cwd=root)
    call(sys.executable, "-m", "dvc", "init", "--quiet", cwd=root)
    call(sys.executable, "-m", "dvc", "config", "core.analytics", "false", cwd=root)
    (root / "toy.py").write_text(TOY)
    (root / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    (root / "dvc.yaml").write_text(yaml.safe_dump(GRAPH))
    (root / ".gitignore").write_text(".vitrine/\n/model\n/data/prepared\n")
    call("git", "add", "--all", cwd=root)
    call("git", "commit", "--quiet", "--message", "A toy project", cwd=root)
    return root


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(*command: str, env: dict[str, str], log: Path, cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own group, ended with the block."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=env, stdout=output, stderr=output, cwd=cwd, start_new_session=True
        )
        try:
            yield process
        finally:
            for sign in (signal.SIGTERM, signal.SIGKILL):
                if process.poll() is None:
                    os.killpg(process.pid, sign)
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    continue


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Environment of a Prefect server that has the pools and deployments of this project."""
    home = tmp_path_factory.mktemp("prefect")
    port = free_port()
    env = {
        **os.environ, "PREFECT_HOME": str(home), "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PYTHONPATH": os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "OMP_NUM_THREADS": "1",
        "PREFECT_SERVER_API_AUTH_STRING": PASSWORD, "PREFECT_API_AUTH_STRING": PASSWORD, "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_WORKER_HEARTBEAT_SECONDS": "1",
        "PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_WORKER_CANCELLATION_POLL_SECONDS": "1",
    }  # fmt: skip
    prefect = str(Path(sys.executable).parent / "prefect")
    serve = (prefect, "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui")
    with running(*serve, env=env, log=home / "server.log", cwd=home):
        deadline = time.monotonic() + 300
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                assert time.monotonic() < deadline, (home / "server.log").read_text()
                time.sleep(0.5)
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        call(str(PROJECT / "infra/pools.sh"), cwd=home, env={**env, "PATH": path})
        yield env


@contextmanager
def worker(server: dict[str, str], origin: Path, clone: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of the GPU pool, started as operations.md says; it makes its clone where there is none."""
    env = {
        **server, "VITRINE_RUNNER_CLONE": str(clone), "VITRINE_GIT": str(origin),
        "VITRINE_STORAGE": str(clone.parent / "remote"), "PREFECT_WORKER_WEBSERVER_PORT": str(free_port()),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }  # fmt: skip
    with running(str(PROJECT / "infra/worker.sh"), "gpu", env=env, log=log, cwd=clone.parent) as process:
        yield process


SUBMIT = """
import dataclasses, json, sys
from pathlib import Path
from components.stage.errors import VitrineError
from components.stage.params import validate
from components.parameters.runner import GpuParams
from flows.remote.runner import run_remote
from flows.run.stages import StageJob, run_stage
stage = StageJob(Path.cwd(), sys.argv[1], "pipeline-7")
gpu = json.loads(sys.argv[2])
try:
    result = run_remote(stage, validate(GpuParams, gpu, "runner.gpu")) if gpu else run_stage(stage)
    answer = {**dataclasses.asdict(result), "cached": result.cached, "log": str(result.log)}
except VitrineError as error:
    answer = {"raised": type(error).__name__, "exit_code": error.exit_code, "error": str(error)}
Path(".vitrine").mkdir(exist_ok=True)
Path(".vitrine/answer.json").write_text(json.dumps(answer))
"""
GPU = {"work_pool": "gpu", "deployment": "gpu-stage/gpu", "timeout_s": 600.0, "worker_timeout_s": 300.0}


def submit(stage: str, root: Path, server: dict[str, str], here: bool = False, **gpu: Any) -> dict[str, Any]:
    """A stage on the runner, or here, in a process of its own, as the pipeline of a user would call it."""
    settings = json.dumps({} if here else {**GPU, **gpu})
    call(sys.executable, "-c", SUBMIT, stage, settings, cwd=root, env=server)
    answer: dict[str, Any] = json.loads((root / ".vitrine" / "answer.json").read_text())
    return answer


def locked(root: Path, stage: str) -> Any:
    return yaml.safe_load((root / "dvc.lock").read_text())["stages"][stage]


def set_train(root: Path, **values: Any) -> None:
    (root / "params.yaml").write_text(yaml.safe_dump({**PARAMS, "train": {**PARAMS["train"], **values}}))  # type: ignore[dict-item]


@pytest.fixture
def workspace(origin: Path, tmp_path: Path) -> Path:
    """The user's clone, with everything before the GPU stage computed."""
    root = clone_of(origin, tmp_path / "workspace", tmp_path / "remote")
    call(sys.executable, "-m", "dvc", "repro", "prepare", cwd=root, env={"PYTHONPATH": str(PROJECT)})
    return root


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Where the runner's clone will be."""
    return tmp_path / "runner"


@pytest.mark.slow
def test_a_stage_runs_in_the_second_clone_and_comes_back_cached(
    server: dict[str, str], origin: Path, workspace: Path, clone: Path, tmp_path: Path
) -> None:
    set_train(workspace, factor=5)  # a working tree that differs from every commit
    with worker(server, origin, clone, tmp_path / "worker.log"):
        answer = submit("train", workspace, server)
        assert answer["exit_code"] == 0, (answer, (tmp_path / "worker.log").read_text())
        assert answer["record"]["parameters"] == {"workspace": str(clone.resolve())}
        assert answer["record"]["parent"] == "pipeline-7" and answer["record"]["prefect_run"]
        assert (clone / ".vitrine/trained-here").exists() and not (
            workspace / ".vitrine/trained-here"
        ).exists()
        log = (workspace / ".vitrine/logs/pipeline-7/train.log").read_text()
        assert "Running stage 'train'" in log.partition("---- here ----")[0]
        assert "Stage 'train' is cached - skipping run" in log.partition("---- here ----")[2]
        assert (workspace / "model/weights.txt").read_text() == "15"
        assert locked(workspace, "train") == locked(clone, "train")
        kept = workspace / ".vitrine/records/train" / f"{answer['record']['id']}.json"
        assert json.loads(kept.read_text()) == answer["record"]

        # Whoever asks again, even from a workspace that lost everything, gets the same run and its record.
        (workspace / "dvc.lock").unlink()
        shutil.rmtree(workspace / ".dvc/cache")
        shutil.rmtree(workspace / "model")
        call(sys.executable, "-m", "dvc", "repro", "prepare", cwd=workspace, env={"PYTHONPATH": str(PROJECT)})
        again = submit("train", workspace, server)
        assert again["cached"]
        assert (again["record"], again["outputs"]) == (answer["record"], answer["outputs"])

        # The next hand-over replaces the last one in the clone: other code, the parameters of this workspace.
        (workspace / "toy.py").write_text(TOY.replace("size * settings", "1 + size * settings"))
        edited = submit("train", workspace, server)
        assert edited["exit_code"] == 0 and (workspace / "model/weights.txt").read_text() == "16"

    # The same stage where no runner is configured, from the same inputs, gives the same hashes.
    other = clone_of(workspace, tmp_path / "other", tmp_path / "remote-2")
    for name in ("params.yaml", "toy.py"):
        shutil.copy(workspace / name, other / name)
    call(sys.executable, "-m", "dvc", "repro", "prepare", cwd=other, env={"PYTHONPATH": str(PROJECT)})
    here = submit("train", other, server, here=True)
    assert here["record"]["parameters"] == {"workspace": str(other.resolve())} and not here["cached"]
    assert locked(other, "train") == locked(workspace, "train")


@pytest.mark.slow
def test_a_failure_on_the_runner_comes_back_as_its_code_and_sentence(
    server: dict[str, str], origin: Path, workspace: Path, clone: Path, tmp_path: Path
) -> None:
    set_train(workspace, fail=True)
    with worker(server, origin, clone, tmp_path / "worker.log"):
        answer = submit("train", workspace, server)
        assert answer["exit_code"] == 4 and answer["state"] == "failed" and not answer["cached"]
        assert answer["error"] == "data/prepared/part.txt row 1 is not a number; correct it."
        (record,) = (workspace / ".vitrine/records/train").iterdir()
        assert json.loads(record.read_text())["status"] == "failed" and not (workspace / "model").exists()
        set_train(workspace, fail=False)
        assert submit("train", workspace, server)["exit_code"] == 0


@pytest.mark.slow
def test_without_a_worker_the_stage_is_cancelled(
    server: dict[str, str], origin: Path, workspace: Path, clone: Path, tmp_path: Path
) -> None:
    answer = submit("train", workspace, server, worker_timeout_s=3.0)
    assert answer["raised"] == "RunnerTimeoutError" and answer["exit_code"] == 1
    assert "no worker of pool 'gpu' is alive" in answer["error"]
    with worker(
        server, origin, clone, tmp_path / "worker.log"
    ):  # one that comes later must not start it after all
        time.sleep(8)
    assert not (clone / ".vitrine/trained-here").exists()


@pytest.mark.slow
def test_a_stage_that_takes_too_long_is_stopped_on_the_runner(
    server: dict[str, str], origin: Path, workspace: Path, clone: Path, tmp_path: Path
) -> None:
    set_train(workspace, sleep=300)
    with worker(server, origin, clone, tmp_path / "worker.log"):
        answer = submit("train", workspace, server, timeout_s=60.0)
        assert answer["raised"] == "RunnerTimeoutError" and "within 60 s" in answer["error"]
        assert (clone / ".vitrine/trained-here").exists()
        deadline = time.monotonic() + 600
        while stage_processes(clone):
            assert time.monotonic() < deadline, "the stage outlived the cancelled run"
            time.sleep(0.5)


@pytest.mark.slow
def test_a_worker_that_is_killed_is_noticed(
    server: dict[str, str], origin: Path, workspace: Path, clone: Path, tmp_path: Path
) -> None:
    set_train(workspace, sleep=300)
    with worker(server, origin, clone, tmp_path / "worker.log") as process:
        deadline = time.monotonic() + 600
        while "started!" not in (tmp_path / "worker.log").read_text():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.5)
        settings = json.dumps({**GPU, "worker_timeout_s": 60.0})
        client = subprocess.Popen(
            [sys.executable, "-c", SUBMIT, "train", settings], cwd=workspace, env=server
        )
        deadline = time.monotonic() + 600
        while not stage_processes(clone):
            assert time.monotonic() < deadline and client.poll() is None, (
                tmp_path / "worker.log"
            ).read_text()
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGKILL)  # the worker and the engine of the flow run, without a word
        client.wait(600)
    answer = json.loads((workspace / ".vitrine/answer.json").read_text())
    assert answer["raised"] == "RunnerTimeoutError" and "no worker of pool 'gpu' is alive" in answer["error"]
    deadline = time.monotonic() + 120
    while stage_processes(clone):  # the flow run, left alone, learns from the server that it was called off
        assert time.monotonic() < deadline, "the stage outlived its runner"
        time.sleep(0.2)


@pytest.mark.slow
def test_wrong_set_up_is_reported_in_one_sentence(
    server: dict[str, str], workspace: Path, tmp_path: Path
) -> None:
    nowhere = submit("train", workspace, server, deployment="gpu-stage/elsewhere")
    assert nowhere["exit_code"] == 2 and "no deployment 'gpu-stage/elsewhere'" in nowhere["error"]
    refused = submit("train", workspace, {**server, "PREFECT_API_AUTH_STRING": "admin:wrong"})
    assert refused["exit_code"] == 1 and "PREFECT_API_AUTH_STRING" in refused["error"]
    silent = submit("train", workspace, {**server, "PREFECT_API_URL": "http://127.0.0.1:9/api"})
    assert silent["exit_code"] == 1 and "PREFECT_API_URL" in silent["error"]
    uncached = submit("measure", workspace, server)
    assert (
        uncached["exit_code"] == 2
        and "metrics.json" in uncached["error"]
        and "cache: false" in uncached["error"]
    )
    unknown = submit("trian", workspace, server)
    assert unknown["exit_code"] == 2 and "trian" in unknown["error"]


def stage_processes(clone: Path) -> list[int]:
    """Processes of the toy's stages that work in ``clone``."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if (
                b"toy.py" in (entry / "cmdline").read_bytes()
                and (entry / "cwd").readlink() == clone.resolve()
            ):
                found.append(int(entry.name))
        except (OSError, ValueError):
            continue
    return found
