"""Prefect's API for one run: the server the environment names, or a temporary one that dies with us.

Prefect can start a temporary server by itself, but that one outlives a SIGKILL of its client and waits only
20 s for a slow machine; this one is started early, so that it is up by the time the graph has been read.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from subprocess import Popen

from components.machine import processes
from components.stage.record import STATE
from components.stage.resources.full_disk import DISK_FULL, full
from flows.errors import TrackerError

AWAY_S = 4.0  # how long a server of the environment may refuse before it counts as gone
SLOW_S = 20.0  # how long one that has much to do may take for an answer
STARTUP_TIMEOUT_S = 600.0  # a machine busy with other work starts it slowly; a dead one is seen at once
POLL_S = 0.05


def configure(root: Path) -> None:
    """Set Prefect up through the environment, which it reads once, at import.

    No telemetry or log on the terminal, its state under ``.vitrine/prefect``; what the user has set stays.
    """
    defaults = {
        "PREFECT_HOME": str(root / STATE / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": str(int(STARTUP_TIMEOUT_S)),
        "PREFECT_CLI_PROMPT": "false",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    hosts = os.environ.get("NO_PROXY", "")
    if "127.0.0.1" not in hosts:  # a proxy of the environment must not catch calls to our own machine
        os.environ["NO_PROXY"] = ",".join(filter(None, [hosts, "127.0.0.1,localhost"]))


class PrefectServer:
    """A context: entering starts it and returns at once, ``ready`` waits for it, leaving ends it.

    A server that PREFECT_API_URL names goes first. Make it before Prefect is imported.
    """

    def __init__(self, root: Path) -> None:
        configure(root)
        self.log = root / STATE / "logs" / "prefect-server.log"
        self._process: Popen[bytes] | None = None
        self._url = os.environ.get("PREFECT_API_URL", "")
        self._ours = not self._url
        self._seen = time.monotonic()

    def __enter__(self) -> PrefectServer:  # from the main thread: it dies with its starter
        if not self._ours:
            return self
        if importlib.util.find_spec("prefect") is None:
            raise TrackerError("Prefect is not installed; install the extra 'runner', or use 'dvc repro'.")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self._url = f"http://127.0.0.1:{port}/api"
        command = [sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"]
        command += ["--host", "127.0.0.1", "--port", str(port), "--log-level", "error", "--lifespan", "on"]
        # Settings for a server of the user's own, such as its password or its database, are not for this one.
        theirs = [name for name in os.environ if name.startswith(("PREFECT_SERVER_", "PREFECT_API_"))]
        extra = {
            **dict.fromkeys(theirs),
            "PREFECT_PROFILES_PATH": str(self.log.with_name("no-profiles.toml")),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
            "PREFECT_UI_ENABLED": "0",
            "PREFECT__SERVER_EPHEMERAL": "1",
            "PREFECT__SERVER_FINAL": "1",
            "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
        }
        self.log.parent.mkdir(parents=True, exist_ok=True)
        Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as output:
            self._process = processes.start(command, self.log.parent, output, env=extra)
        return self

    def ready(self) -> str:
        """Wait for the API and return its URL; TrackerError: it does not answer."""
        deadline = time.monotonic() + (STARTUP_TIMEOUT_S if self._ours else 10.0)
        while time.monotonic() < deadline and (self._process is None or self._process.poll() is None):
            if self._answers():
                self._seen = time.monotonic()
                return self._url
            time.sleep(POLL_S)
        if self._ours and full(self.log.parent):
            raise TrackerError(DISK_FULL)
        hint = f"see {self.log} and 'vitrine doctor --deep'" if self._ours else "check PREFECT_API_URL"
        raise TrackerError(
            f"Prefect's API at {self._url} does not answer; {hint}. 'dvc repro' works without it."
        )

    def _answers(self, timeout_s: float = 5.0) -> bool:
        opener = urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if self._ours else []))
        try:
            with opener.open(f"{self._url}/health", timeout=timeout_s):
                return True
        except urllib.error.HTTPError as error:
            return error.code in (401, 403)  # authentication is on, and Prefect's client has the password
        except (OSError, HTTPException):
            return False

    def away(self) -> bool:
        """Whether the server is gone: ours has ended, or that of the environment is silent for ``AWAY_S``."""
        now = time.monotonic()
        there = self._process.poll() is None if self._process else self._answers(SLOW_S)
        self._seen = now if there else self._seen
        return not there and now - self._seen >= (0.0 if self._ours else AWAY_S)

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            processes.stop(self._process, grace_s=0.5)
