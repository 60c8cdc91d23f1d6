"""Local models of random weights: the path is proven, not the wit; and transformers' own server."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faulty_server import URL
from lamps import picture

from components.llm.chat import Message, Reply, Request
from components.llm.errors import ChatModelFileError, ReplyError
from components.llm.local import LocalModel, check_folder
from components.llm.open_model import open_model
from components.llm.params import LLMParams, LocalParams
from components.llm.session import Answer, ChatSession
from tests.model.damaged_weights import make_a_weight_nan, rename_a_tensor

SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string", "minLength": 1, "maxLength": 20}},
    "required": ["text"],
    "additionalProperties": False,
}
Make = Callable[..., LLMParams]


@pytest.fixture(scope="module")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_models import save_text_model

    folder = tmp_path_factory.mktemp("text-model")
    save_text_model(folder)
    return folder


@pytest.fixture(scope="module")
def image_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_models import save_image_text_model

    folder = tmp_path_factory.mktemp("image-model")
    save_image_text_model(folder)
    return folder


def local(folder: Path, **changes: Any) -> LocalParams:
    values = {
        "folder": str(folder),
        "pictures": False,
        "precision": "fp32",
        "constrained": True,
        "threads": 1,
    }
    return LocalParams.model_validate(values | changes)


def request(most: int = 80, image: bytes | None = None, temperature: float = 0.0, seed: int = 1) -> Request:
    turns = (Message("system", "Describe."), Message("user", '{"title": "lamp"}', image))
    return Request("summarizer", turns, SCHEMA, temperature, most, seed)


def reply(model: LocalModel, asked: Request) -> Reply:
    return asyncio.run(model.reply(asked))


def test_constrained_answers_obey_the_schema_and_repeat(text_model: Path) -> None:
    model = LocalModel(local(text_model))
    first, again = reply(model, request()), reply(model, request())
    assert first == again and not first.cut
    assert set(json.loads(first.text)) == {"text"} and 0 < len(json.loads(first.text)["text"]) <= 20
    assert first.usage.prompt_tokens > 10 and first.usage.completion_tokens > 5
    warm = [reply(model, request(temperature=1.0, seed=s)) for s in (1, 1, 2)]
    assert warm[0] == warm[1] != warm[2]
    assert all(json.loads(r.text) for r in warm)


def test_a_short_limit_cuts_and_says_so(text_model: Path) -> None:
    assert reply(LocalModel(local(text_model)), request(most=4)).cut


def test_an_image_text_model_sees_the_picture(image_model: Path) -> None:
    model = LocalModel(local(image_model, pictures=True))
    blind = reply(model, request())
    seen = reply(model, request(image=picture("red")))
    assert seen.usage.prompt_tokens == blind.usage.prompt_tokens + 16  # 32 px in patches of 8
    assert json.loads(seen.text)


def test_free_decoding_of_random_weights_fails_the_item_not_the_work(
    text_model: Path, llm_params: Make, tmp_path: Path
) -> None:
    params = llm_params(
        backend="local", local=local(text_model, constrained=False).model_dump(), max_tokens=12, reasks=1
    )

    async def go() -> tuple[Answer, dict[str, float]]:
        session = ChatSession(open_model(params, {}, ""), params, tmp_path / "replies.sqlite")
        answer = await session.ask("summarizer", request().messages, SCHEMA)
        await session.close()
        return answer, session.figures()

    answer, figures = asyncio.run(go())
    assert answer.value is None and "2 attempts" in answer.reason
    assert figures["requests"] == 2


def test_a_prompt_over_the_context_is_refused_before_it_runs(text_model: Path) -> None:
    model = LocalModel(local(text_model))
    with pytest.raises(ReplyError, match="do not fit"):
        reply(model, request(most=9000))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("missing", "config.json"),
        ("pickle", "may run code"),
        ("code", "may run code"),
        ("no weights", "no safetensors"),
        ("cut", "cannot be loaded"),
        ("no tokenizer", "cannot be loaded"),
    ],
)
def test_a_folder_that_is_no_safe_model_is_refused(
    text_model: Path, tmp_path: Path, fault: str, said: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(text_model, folder)
    weights = folder / "model.safetensors"
    if fault == "missing":
        shutil.rmtree(folder)
    elif fault in ("pickle", "code"):
        (folder / ("pytorch_model.bin" if fault == "pickle" else "modeling_own.py")).write_bytes(b"")
    elif fault == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif fault == "no weights":
        weights.unlink()
    else:
        for file in folder.glob("tokenizer*"):
            file.unlink()
    with pytest.raises(ChatModelFileError, match=said):
        check_folder(folder)
        LocalModel(local(folder))


LAMP = '{"text": "lamp"}'
OTHER = {**SCHEMA, "properties": {"text": {"type": "string", "minLength": 9}}}


@pytest.mark.parametrize(
    ("damage", "told"), [(rename_a_tensor, "weights are missing"), (make_a_weight_nan, "not finite")]
)
def test_weights_that_are_not_the_models_own_are_refused(
    text_model: Path, tmp_path: Path, damage: Callable[[Path], None], told: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(text_model, folder)
    damage(folder / "model.safetensors")
    with pytest.raises(ChatModelFileError, match=told):
        LocalModel(local(folder))


@pytest.mark.slow
@pytest.mark.parametrize("pictures", [False, True], ids=["text", "image-text"])
def test_answers_of_a_transformers_server_are_checked_counted_and_kept(
    llm_params: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: bool
) -> None:
    from tiny_models import save_image_text_model, save_text_model

    folder = tmp_path / "model"
    save = save_image_text_model if pictures else save_text_model
    save(folder, says=LAMP)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    start = "from transformers.cli.transformers import main; main()"
    serve = ["serve", str(folder), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    command = [sys.executable, "-c", start, *serve]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        _wait(f"http://127.0.0.1:{port}/health", server, tmp_path / "server.log")
        monkeypatch.setenv(URL, f"http://127.0.0.1:{port}/v1")
        changes = {"model": str(folder), "key_env": None, "structured_output": "none", "timeout_s": 60.0}
        params = llm_params(endpoint=changes, max_tokens=8, reasks=1)
        asked = params, tmp_path / "replies.sqlite", picture("red") if pictures else None
        answer, figures = _ask(*asked, SCHEMA)
        assert answer == Answer({"text": "lamp"}, "", 1), (tmp_path / "server.log").read_text()
        assert figures["prompt_tokens"] == (45 if pictures else 29)  # 16 of them for the picture
        # an answer that does not fit is asked for again, a bounded number of times
        refused, more = _ask(*asked, OTHER)
        assert refused.value is None and refused.attempts == 2 and more["malformed"] == 2
    finally:
        server.kill()
        server.wait()
    # all of it is kept: the server is gone
    for schema, told, count in ((SCHEMA, answer, 1), (OTHER, refused, 2)):
        again, kept = _ask(*asked, schema)
        assert again == told and kept["cached"] == count


def _ask(
    params: LLMParams, cache: Path, image: bytes | None, schema: dict[str, Any]
) -> tuple[Answer, dict[str, float]]:
    async def go() -> tuple[Answer, dict[str, float]]:
        session = ChatSession(open_model(params, {}, ""), params, cache)
        try:
            answer = await session.ask("summarizer", request(image=image).messages, schema)
        finally:
            await session.close()
        return answer, session.figures()

    return asyncio.run(go())


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise AssertionError(log.read_text())
