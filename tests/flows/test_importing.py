"""A command that ``vitrine import`` starts has told its own error: only its exit code is handed on."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.catalogues.feeds import SHAPES
from flows.errors import WorkspaceError
from flows.importing import (
    CommandFailedError,
    ImportRequest,
    check_import,
    import_source,
    inspect_source,
    passed_on,
)
from flows.workspace import git


@pytest.mark.parametrize(
    ("code", "handed_on"),
    [("raise SystemExit(4)", 4), ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 143)],
)
def test_the_exit_code_is_the_commands_own(
    tmp_path: Path, code: str, handed_on: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CommandFailedError) as caught:
        passed_on(tmp_path, [sys.executable, "-c", code])
    assert caught.value.exit_code == handed_on
    assert ("killed from outside" in capfd.readouterr().err) == (handed_on > 128)


def test_a_killed_import_is_told_until_it_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "-q")
    codes = {"killed": -9, "refused": 4, "done": 0}

    def _import(how: str) -> None:
        def _ended(root: Path, command: list[str]) -> None:
            if codes[how]:
                raise CommandFailedError(command, codes[how])

        monkeypatch.setattr("flows.importing.passed_on", _ended)
        catalogue = ImportRequest(tmp_path / "my shop", tmp_path / "m.yaml")
        import_source(tmp_path, catalogue, None, Console(file=io.StringIO()))

    with pytest.raises(CommandFailedError):
        _import("killed")
    again = f"run it again: vitrine import '{tmp_path}/my shop' --mapping {tmp_path}/m.yaml"
    with pytest.raises(WorkspaceError, match=re.escape(again)):
        check_import(tmp_path)
    with pytest.raises(CommandFailedError):
        _import("refused")  # the former source is there, as it was
    check_import(tmp_path)
    with pytest.raises(CommandFailedError):
        _import("killed")
    _import("done")
    check_import(tmp_path)


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
    inspect_source(tmp_path, shop, None, False, Console(file=said, width=40))
    assert (tmp_path / "conf/mappings/my-shop-2026.yaml").is_file()
    assert "extends: own" in (tmp_path / "conf/my-shop-2026.yaml").read_text()
    assert f"vitrine import '{shop}' --mapping conf/mappings/my-shop-2026.yaml" in said.getvalue()
    with pytest.raises(CommandFailedError):
        inspect_source(tmp_path, shop, None, False, Console(file=said))
    (tmp_path / "conf/my-shop-2026.yaml").write_text("changed by hand")
    inspect_source(tmp_path, shop, None, True, Console(file=said))
    assert "extends: own" in (tmp_path / "conf/my-shop-2026.yaml").read_text()
