"""The services of infra/compose.yaml for tests: their very commands and environments, on ports of our own.

PostgreSQL is started from the machine's own programs (Debian: ``apt-get install postgresql``), in a
folder that goes with the test.
"""

from __future__ import annotations

import base64
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[1]
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
    return [filled(item) for item in loaded["command"]], service_values(name)


def filled(text: object) -> str:
    """A text with its variables filled in as Compose does."""
    return re.sub(r"\$\{(\w+)[^}]*\}", lambda match: VALUES[match[1]], str(text))


def service_values(name: str) -> dict[str, str]:
    """Environment of a service that is no program of ours."""
    loaded = yaml.safe_load((PROJECT / "infra" / "compose.yaml").read_text())["services"][name]
    return {key: filled(value) for key, value in loaded["environment"].items()}


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
def serving(
    command: list[str], env: dict[str, str], folder: Path, health: str
) -> Iterator[subprocess.Popen[bytes]]:
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
        yield process
    finally:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, sign)
                process.wait(15)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue


def mlflow(
    folder: Path, port: int, database: Mapping[str, str] | None = None
) -> tuple[list[str], dict[str, str]]:
    """Command and environment of the MLflow server on ``port``, with its artifacts in ``folder``.

    ``database`` names PostgreSQL's host and port as libpq does; without it SQLite files stand in its place.
    """
    command, env = service("mlflow")
    replaced = {
        "--artifacts-destination": str(folder / "artifacts"),
        "--host": "127.0.0.1",
        "--port": str(port),
        "--workers": "1",
    }
    ini = PROJECT / "infra/mlflow/basic_auth.ini"
    if database is None:
        replaced["--backend-store-uri"] = f"sqlite:///{folder}/mlflow.db"
        changed = re.sub(r"database_uri = .*", f"database_uri = sqlite:///{folder}/auth.db", ini.read_text())
        ini = folder / "basic_auth.ini"
        ini.write_text(changed)
    split = (item.partition("=") for item in command)
    command = [f"{name}={replaced.get(name, value)}" if value else name for name, _, value in split]
    return command, env | {"MLFLOW_AUTH_CONFIG_PATH": str(ini), **(database or {})}


def postgres_binaries() -> Path | None:
    """The folder of PostgreSQL's programs, where they are installed."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent  # its siblings stand beside the program, not beside a link
    return max((path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")), default=None)


@contextmanager
def postgres() -> Iterator[dict[str, str]]:
    """A PostgreSQL server with the roles and databases of infra/postgres; its ``PGHOST`` and ``PGPORT``."""
    binaries = postgres_binaries()
    assert binaries is not None
    values = service_values("postgres")
    root = os.geteuid() == 0  # PostgreSQL refuses to run as root
    owner = pwd.getpwnam("nobody") if root else None
    who: dict[str, Any] = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []} if owner else {}
    folder = Path(tempfile.mkdtemp(prefix="vitrine-postgres-"))  # pytest's own folders are root's alone
    try:
        (folder / "password").write_text(values["POSTGRES_PASSWORD"])
        if owner:
            for path in (folder, folder / "password"):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        place = {"PGHOST": "127.0.0.1", "PGPORT": str(free_port())}
        superuser = values["POSTGRES_USER"]
        made = [
            binaries / "initdb",
            f"--username={superuser}",
            f"--pwfile={folder}/password",
            "--auth-local=trust",
        ]
        made += [values["POSTGRES_INITDB_ARGS"], "--no-sync", "-D", folder / "data"]
        subprocess.run(made, check=True, capture_output=True, cwd=folder, **who)
        start = [binaries / "postgres", "-D", folder / "data", "-p", place["PGPORT"]]
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": str(folder), "fsync": "off"}
        start += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        server = subprocess.Popen(
            start, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **who
        )
        try:
            psql = [binaries / "psql", "-q", "-v", "ON_ERROR_STOP=1", "-U", superuser, "-d", "postgres"]
            env = os.environ | values | place | {"PGPASSWORD": values["POSTGRES_PASSWORD"]}
            deadline = time.monotonic() + START_S
            while subprocess.run([*psql, "-c", "SELECT 1"], env=env, capture_output=True).returncode:
                assert server.poll() is None and time.monotonic() < deadline, "PostgreSQL does not start"
                time.sleep(0.2)
            subprocess.run([*psql, "-f", PROJECT / "infra/postgres/databases.sql"], env=env, check=True)
            yield place
        finally:
            server.send_signal(signal.SIGINT)  # fast shutdown: sessions end, no wait for clients
            server.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
