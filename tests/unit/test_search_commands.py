"""Both search commands end in one sentence and an exit code, whatever is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from components.encoder.search import __main__ as encoder_command
from components.search import command as fusion_command


@pytest.mark.parametrize(
    ("command", "words", "code", "told"),
    [
        (encoder_command.main, ["search", "mug", "--k", "0"], 2, "--k must be at least 1"),
        (encoder_command.main, ["search", "mug", "--where", "colour"], 2, "not 'colour'"),
        (encoder_command.main, ["search", "mug"], 4, "models/encoder"),
        (encoder_command.main, ["similar", "p1"], 4, "models/index"),
        (fusion_command.main, ["mug", "--where", "=red"], 2, "not '=red'"),
        (fusion_command.main, ["mug", "--system", "bm25"], 2, "There is no catalogue at"),
        (fusion_command.main, ["mug", "--system", "hybrid_image"], 2, "vitrine run fusion"),
        (fusion_command.main, ["mug"], 4, "models/encoder"),
    ],
)
def test_search_in_an_empty_workspace_ends_with_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: Callable[[list[str]], int],
    words: list[str],
    code: int,
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(words) == code
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith("error: ") and told in line and said.out == ""
