"""The commands of infra/compose.yaml start with authentication on: users without the password are refused.

The very commands and environments of the file are run, with a SQLite file in PostgreSQL's place and
ports of our own.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services import PROJECT, START_S, VALUES, ask, free_port, mlflow, service, serving


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("flask_wtf") is None, reason="mlflow's basic-auth needs Flask-WTF"
)
def test_mlflow_refuses_unknown_users_and_serves_artifacts_to_its_own(tmp_path: Path) -> None:
    port = free_port()
    command, env = mlflow(tmp_path, port)
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
