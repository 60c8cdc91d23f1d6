"""SIGKILL of Prefect's server, the temporary one or that of a team, while a stage runs here."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.e2e.test_kill_processes import PATIENCE_S, until
from tests.flows.toy_workspace import command, environment, make_workspace

pytestmark = pytest.mark.slow
SOON_S = 30.0  # from the end of the last stage to the end of the run, on a busy machine; minutes before
SERVER = ("-m", "uvicorn", "--factory", "prefect.server.api.server:create_app", "--host", "127.0.0.1")


@contextmanager
def lasting_server(folder: Path) -> Iterator[tuple[psutil.Process, str]]:
    """A server that outlives runs, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = environment(PREFECT_HOME=str(folder), PREFECT_UI_ENABLED="0", DO_NOT_TRACK="1")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = psutil.Popen([sys.executable, *SERVER, "--port", str(port)], env=env, cwd=folder, **quiet)
    try:
        until(lambda: _listens(port), PATIENCE_S, "the start of a server")
        yield server, f"http://127.0.0.1:{port}/api"
    finally:
        server.kill()
        server.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def temporary_server(run: psutil.Process) -> psutil.Process:
    """The server that a run has started for itself."""
    children = run.children(recursive=True)
    return next(p for p in children if "uvicorn" in (line := p.cmdline()) and "-I" not in line)


@contextmanager
def paused(root: Path, stage: str, **extra: str) -> Iterator[psutil.Popen]:
    """``vitrine run`` with ``stage`` held inside its command."""
    flag = root / ".vitrine" / "pause" / stage
    flag.parent.mkdir(parents=True, exist_ok=True)
    flag.touch()
    run = psutil.Popen(
        [sys.executable, "-m", "flows.cli", "run", "encoder"],
        cwd=root, env=environment(**extra), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        told = flag.with_name(f"{stage}.pid")
        until(lambda: run.poll() is not None or told.exists(), PATIENCE_S, stage)
        assert run.poll() is None, run.communicate()[0]
        yield run
    finally:
        flag.unlink(missing_ok=True)
        if run.poll() is None:
            run.kill()
            run.wait()


@pytest.mark.parametrize("kind", ["temporary", "lasting"])
def test_a_run_whose_server_is_killed_ends_soon_after_its_stages_and_keeps_their_records(
    kind: str, tmp_path: Path
) -> None:
    root, stage = make_workspace(tmp_path / "toy"), "make"
    (tmp_path / "server").mkdir()
    with lasting_server(tmp_path / "server") as (lasting, address):
        # the password and the address of somebody's own server are not for the temporary one
        theirs = {"PREFECT_SERVER_API_AUTH_STRING": "a:b", "PREFECT_SERVER_API_BASE_PATH": "/other"}
        extra = theirs if kind == "temporary" else {"PREFECT_API_URL": address}
        with paused(root, stage, **extra) as run:
            (temporary_server(run) if kind == "temporary" else lasting).send_signal(signal.SIGKILL)
            time.sleep(6.0)
            assert run.poll() is None, "a stage at work is let finish"
            (root / ".vitrine" / "pause" / stage).unlink()
            until(
                lambda: list((root / ".vitrine" / "records" / stage).glob("*.json")), PATIENCE_S, "a record"
            )
            start = time.monotonic()
            said, _ = run.communicate(timeout=PATIENCE_S)
            assert time.monotonic() - start < SOON_S, said
    assert run.returncode == 1 and "error: Prefect's server has gone away" in said, said
    assert "Traceback" not in said and "httpx" not in said, said
    assert not (root / "out" / "scale.json").exists(), "no further stage begins"
    command(root, sys.executable, "-m", "flows.cli", "run")
    assert len(list((root / ".vitrine" / "records" / stage).glob("*.json"))) == 1, "the stage is kept"
