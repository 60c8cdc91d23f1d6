"""Search ends in one sentence and an exit code, whatever is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.search.command import main


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--like", "p1", "--k", "0"], 2, "--k must be at least 1"),
        (["--like", "p1", "--where", "colour"], 2, "not 'colour'"),
        (["--like", "p1"], 4, "models/index"),
        (["mug", "--where", "=red"], 2, "not '=red'"),
        (["mug", "--system", "bm25"], 2, "There is no catalogue at"),
        (["mug", "--system", "hybrid_image"], 2, "vitrine run fusion"),
        (["mug"], 4, "models/encoder"),
    ],
)
def test_search_in_an_empty_workspace_ends_with_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == code
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith("error: ") and told in line and said.out == ""
