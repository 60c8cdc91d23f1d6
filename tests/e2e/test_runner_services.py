"""The commands of infra/compose.yaml start with authentication on: users without the password are refused.

The very commands and environments of the file are run, with a SQLite file in PostgreSQL's place and
ports of our own.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import re
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
VALUES = {
    "POSTGRES_PASSWORD": "unused",
    "MLFLOW_DB_PASSWORD": "unused",
    "PREFECT_DB_PASSWORD": "unused",
    "MLFLOW_USERNAME": "keeper",
    "MLFLOW_PASSWORD": "for-this-test-only",
    "MLFLOW_SECRET_KEY": "for-this-test-only",
    "PREFECT_AUTH": "keeper:for-this-test-only",
}
START_S = 300.0


def service(name: str) -> tuple[list[str], dict[str, str]]:
    """Command and environment of a service, with variables filled in as Compose does."""
    loaded: dict[str, Any] = yaml.safe_load((PROJECT / "infra" / "compose.yaml").read_text())["services"][
        name
    ]

    def fill(text: str) -> str:
        return re.sub(r"\$\{(\w+)[^}]*\}", lambda match: VALUES[match[1]], str(text))

    return [fill(item) for item in loaded["command"]], {k: fill(v) for k, v in loaded["environment"].items()}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(url: str, body: Any = None, auth: str = "", host: str = "") -> tuple[int, Any]:
    """Status and JSON answer of one request."""
    headers = {"Content-Type": "application/json"}
    if auth:
        headers["Authorization"] = "Basic " + base64.b64encode(auth.encode()).decode()
    if host:
        headers["Host"] = host
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=60) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text[:1] in (b"{", b"[") else text
    except urllib.error.HTTPError as error:
        return error.code, None


@contextmanager
def serving(command: list[str], env: dict[str, str], folder: Path, health: str) -> Iterator[None]:
    program = [str(Path(sys.executable).parent / command[0]), *command[1:]]
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            program,
            env={**os.environ, **env},
            cwd=folder,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_S
        while True:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-4000:]
            try:
                if ask(health)[0] == 200:
                    break
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        yield
    finally:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, sign)
                process.wait(15)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("flask_wtf") is None, reason="mlflow's basic-auth needs Flask-WTF"
)
def test_mlflow_refuses_unknown_users_and_serves_artifacts_to_its_own(tmp_path: Path) -> None:
    command, env = service("mlflow")
    port = free_port()
    ini = (PROJECT / "infra/mlflow/basic_auth.ini").read_text()
    changed = re.sub(r"database_uri = .*", f"database_uri = sqlite:///{tmp_path}/auth.db", ini)
    (tmp_path / "basic_auth.ini").write_text(changed)
    env["MLFLOW_AUTH_CONFIG_PATH"] = str(tmp_path / "basic_auth.ini")
    replaced = {
        "--backend-store-uri": f"sqlite:///{tmp_path}/mlflow.db",
        "--artifacts-destination": str(tmp_path / "artifacts"),
        "--host": "127.0.0.1",
        "--port": str(port),
        "--workers": "1",
    }
    command = [
        f"{o}={replaced.get(o, v)}" if v else o for o, _, v in (item.partition("=") for item in command)
    ]
    keeper, url = f"{VALUES['MLFLOW_USERNAME']}:{VALUES['MLFLOW_PASSWORD']}", f"http://127.0.0.1:{port}"
    search, query = f"{url}/api/2.0/mlflow/experiments/search", {"max_results": 1}
    with serving(command, env, tmp_path, f"{url}/health"):
        assert ask(search, query)[0] == 401
        assert ask(search, query, f"{VALUES['MLFLOW_USERNAME']}:password1234")[0] == 401
        assert ask(f"{url}/api/2.0/mlflow-artifacts/artifacts")[0] == 401
        status, found = ask(search, query, keeper)
        assert status == 200 and found["experiments"][0]["artifact_location"].startswith("mlflow-artifacts:")
        assert ask(search, query, keeper, host="mlflow:5000")[0] == 200, "the workers' name of the server"
        assert ask(search, query, keeper, host="evil.example")[0] == 403


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("flask_wtf") is None, reason="mlflow's basic-auth needs Flask-WTF"
)
def test_mlflow_does_not_start_without_a_password(tmp_path: Path) -> None:
    command, env = service("mlflow")
    ini = (PROJECT / "infra/mlflow/basic_auth.ini").read_text()
    changed = re.sub(r"database_uri = .*", f"database_uri = sqlite:///{tmp_path}/auth.db", ini)
    (tmp_path / "basic_auth.ini").write_text(changed)
    env |= {"MLFLOW_AUTH_ADMIN_PASSWORD": "", "MLFLOW_AUTH_CONFIG_PATH": str(tmp_path / "basic_auth.ini")}
    program = str(Path(sys.executable).parent / command[0])
    plain = [item for item in command[1:] if not item.startswith(("--host", "--port", "--backend"))]
    store = f"--backend-store-uri=sqlite:///{tmp_path}/m.db"
    done = subprocess.run(
        [program, *plain, f"--port={free_port()}", store],
        env={**os.environ, **env},
        cwd=tmp_path,
        capture_output=True,
        timeout=START_S,
        check=False,
    )
    assert done.returncode != 0 and b"MLFLOW_AUTH_ADMIN_PASSWORD" in done.stdout + done.stderr


@pytest.mark.slow
def test_prefect_refuses_unknown_users(tmp_path: Path) -> None:
    command, env = service("prefect")
    port = free_port()
    env |= {
        "PREFECT_HOME": str(tmp_path),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{tmp_path}/prefect.db",
    }
    command = [item.replace("0.0.0.0", "127.0.0.1").replace("4200", str(port)) for item in command]
    url = f"http://127.0.0.1:{port}/api"
    with serving([*command, "--no-ui"], env, tmp_path, f"{url}/health"):
        assert ask(f"{url}/work_pools/filter", {})[0] == 401
        assert ask(f"{url}/work_pools/filter", {}, "keeper:password")[0] == 401
        assert ask(f"{url}/flow_runs/filter", {})[0] == 401
        assert ask(f"{url}/work_pools/filter", {}, VALUES["PREFECT_AUTH"]) == (200, [])
