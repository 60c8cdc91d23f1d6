"""Parameters of the chat models and of the text agent, and servers to meet them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from faulty_server import KEY, URL, FaultyServer, Script

from components.llm.params import LLMParams


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Script], FaultyServer]]:
    """Start a server by its script; its URL is in the environment variable that ``llm_params`` names."""
    servers: list[FaultyServer] = []

    def start(script: Script) -> FaultyServer:
        server = FaultyServer(script)
        servers.append(server)
        monkeypatch.setenv(URL, server.url)
        monkeypatch.setenv(KEY, "secret-key")
        return server

    yield start
    for server in servers:
        server.stop()


ENDPOINT = {
    "model": "tiny",
    "url_env": URL,
    "key_env": KEY,
    "structured_output": "json_schema",
    "pictures": True,
    "concurrency": 4,
    "timeout_s": 5.0,
    "retries": 4,
    "backoff_s": 0.001,
    "backoff_max_s": 2.0,
    "unreachable_after": 3,
}
LLM = {
    "backend": "endpoint",
    "endpoint": ENDPOINT,
    "local": None,
    "temperature": 0.0,
    "max_tokens": 64,
    "seed": 5,
    "reasks": 2,
    "max_failed_fraction": 0.1,
    "budget": {"requests": None, "tokens": None},
}


@pytest.fixture
def llm_params() -> Callable[..., LLMParams]:
    """The block ``llm``; keywords change it, and ``endpoint`` is merged."""

    def make(**changes: Any) -> LLMParams:
        endpoint = {**ENDPOINT, **changes.pop("endpoint", {})}
        return LLMParams.model_validate({**LLM, "endpoint": endpoint, **changes})

    return make
