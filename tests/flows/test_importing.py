"""A command that ``vitrine import`` starts has told its own error: only its exit code is handed on."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.catalogues.feeds import SHAPES
from flows.importing import CommandFailedError, inspect_source, passed_on


@pytest.mark.parametrize(
    ("code", "handed_on"),
    [("raise SystemExit(4)", 4), ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 143)],
)
def test_the_exit_code_is_the_commands_own(tmp_path: Path, code: str, handed_on: int) -> None:
    with pytest.raises(CommandFailedError) as caught:
        passed_on(tmp_path, [sys.executable, "-c", code])
    assert caught.value.exit_code == handed_on


def test_the_workspaces_own_code_comes_first(tmp_path: Path) -> None:
    (tmp_path / "components").mkdir()
    (tmp_path / "components/__init__.py").write_text("OWN = True\n")
    code = "import components, pathlib; pathlib.Path('seen').write_text(str(components.OWN))"
    passed_on(tmp_path, [sys.executable, "-c", code])
    assert (tmp_path / "seen").read_text() == "True"


def test_inspection_names_its_files_after_the_folder_and_says_what_is_next(tmp_path: Path) -> None:
    shop = tmp_path / "My Shop (2026)"
    SHAPES[0].write(shop, 12)
    said = io.StringIO()
    inspect_source(tmp_path, shop, None, Console(file=said, width=40))
    assert (tmp_path / "conf/mappings/my-shop-2026.yaml").is_file()
    assert "extends: own" in (tmp_path / "conf/my-shop-2026.yaml").read_text()
    assert f"vitrine import '{shop}' --mapping conf/mappings/my-shop-2026.yaml" in said.getvalue()
    with pytest.raises(CommandFailedError):
        inspect_source(tmp_path, shop, None, Console(file=said))
