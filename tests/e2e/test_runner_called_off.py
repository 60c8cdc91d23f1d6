"""A flow run that was cancelled stops its stage by itself, for its worker may be gone."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from dvc.repo import Repo
from prefect.states import Cancelling, Running

from flows.errors import RunnerError
from flows.remote import gpu_stage
from flows.remote.gpu_stage import _until_called_off, execute, patiently
from flows.remote.handover import prepare
from flows.run.stages import StageJob, Watcher

SLEEPER = "import pathlib, time; pathlib.Path('started').touch(); time.sleep(600)"


class Server:
    """Prefect's client as far as a follower asks it: the state of one run, once it can be reached."""

    api_url = "http://127.0.0.1:1/api"

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked = 0

    def read_flow_run(self, _: Any) -> Any:
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        if isinstance(answer, Exception):
            raise answer
        return type("FlowRun", (), {"state": answer})


def call(*command: str, cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    root = tmp_path / "workspace"
    root.mkdir()
    call("git", "init", "-q", cwd=root)
    Repo.init(str(root)).close()
    (root / "sleeper.py").write_text(SLEEPER)
    stage = {"cmd": f"{sys.executable} sleeper.py", "deps": ["sleeper.py"], "outs": ["never.txt"]}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"train": stage}}))
    (root / ".gitignore").write_text(".vitrine/\nstarted\n")
    call("git", "add", "--all", cwd=root)
    call("git", "-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "-qm", "Toy", cwd=root)
    call("git", "clone", "-q", str(root), str(tmp_path / "clone"), cwd=tmp_path)
    return root


def sleepers(clone: Path) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if b"sleeper.py" in (entry / "cmdline").read_bytes() and (entry / "cwd").readlink() == clone:
                found.append(entry.name)
        except OSError:
            continue
    return found


def test_a_cancelled_run_stops_its_stage(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_stage, "POLL_S", 0.05)
    clone = (tmp_path / "clone").resolve()
    server = Server(Running(), httpx.ConnectError("away"), Running())
    ask = _until_called_off(server, "run")  # type: ignore[arg-type]

    def follow(stage: str, seconds: float, line: str) -> None:
        if (clone / "started").exists():
            assert sleepers(clone)
            server.answers.append(Cancelling())
        ask(stage, seconds, line)

    watcher = Watcher(say=print, follow=follow, ended=lambda result: None)
    with pytest.raises(RunnerError, match="called off"):
        execute(prepare("train", workspace), StageJob(clone, "train", "run"), watcher)
    assert server.asked > 3, "an unreachable server must not stop a stage"
    deadline = time.monotonic() + 20
    while sleepers(clone):
        assert time.monotonic() < deadline, "the stage outlived the run"
        time.sleep(0.1)


def test_a_server_that_comes_back_is_waited_for_and_a_refusal_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_stage, "POLL_S", 0.01)
    request = httpx.Request("GET", "http://127.0.0.1:1/api")

    def status(code: int) -> httpx.HTTPStatusError:
        return httpx.HTTPStatusError("no", request=request, response=httpx.Response(code, request=request))

    server: Any = Server(httpx.ConnectError("away"), status(503), Running())
    assert patiently(lambda: server.read_flow_run("run"), server, 30.0).state.is_running()
    refusing: Any = Server(status(401))
    with pytest.raises(RunnerError, match="PREFECT_API_AUTH_STRING"):
        patiently(lambda: refusing.read_flow_run("run"), refusing, 30.0)
    assert refusing.asked == 1
    gone: Any = Server(httpx.ConnectError("away"))
    with pytest.raises(RunnerError, match="ConnectError"):
        patiently(lambda: gone.read_flow_run("run"), gone, 0.05)
