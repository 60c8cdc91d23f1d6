"""``vitrine doctor``: what is known to break is found, with a way to fix it, and nothing else fails."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from rich.console import Console

from components.machine import checks
from components.machine.checks import (
    Finding,
    check_disk,
    check_ignores,
    check_store,
    check_system,
    version_finding,
)
from flows import doctor


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (None, "warning"),
        ("2.9.9", "failed"),
        ("3.0", "ok"),
        ("3.99", "ok"),
        ("4.0", "failed"),
        ("4.1", "failed"),
    ],
)
def test_a_version_is_at_least_the_one_and_less_than_the_other(found: str | None, state: str) -> None:
    version = None if found is None else Version(found)
    finding = version_finding(Requirement("x>=3,<4; extra == 'train'"), version)
    assert finding.state == state
    assert (finding.remedy.startswith("pip install 'x<4,>=3'")) == (state != "ok")


def test_the_installed_versions_work() -> None:
    *_, told = checks.check_versions()
    assert [finding for finding in checks.check_versions() if finding.state == "failed"] == []
    assert int(told.detail.split()[0]) > 20 and told.what == "packages"


def test_a_version_that_breaks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = checks.version
    monkeypatch.setattr(
        checks, "version", lambda name: Version("0.200") if name == "fastapi" else installed(name)
    )
    (finding,) = [one for one in checks.check_versions() if one.state == "failed"]
    assert finding.what == "fastapi" and "<0.151" in finding.remedy


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        (".vitrine\n__pycache__\n", "ok"),
        ("/.vitrine/\n__pycache__/\n*.log\n", "ok"),
        ("__pycache__\n", "warning"),
        ("# .vitrine-old\n", "warning"),
        (None, "warning"),
    ],
)
def test_dvc_is_kept_out_of_our_own_state(tmp_path: Path, lines: str | None, state: str) -> None:
    if lines is not None:
        (tmp_path / ".dvcignore").write_text(lines)
    (finding,) = check_ignores(tmp_path)
    assert finding.state == state and bool(finding.remedy) == (state != "ok")


def sound(root: Path) -> None:
    (root / "mlruns").mkdir()
    with sqlite3.connect(root / "mlruns/mlflow.db") as base:
        base.execute("CREATE TABLE runs (name TEXT)")
    base.close()


def damaged(root: Path) -> None:
    (root / "mlruns").mkdir()
    (root / "mlruns/mlflow.db").write_bytes(b"this is no database, whatever its name says" * 100)


@pytest.mark.parametrize(
    ("make", "state", "told"),
    [
        (lambda root: None, "ok", "made at the first run"),
        (sound, "ok", "mlflow.db"),
        (damaged, "failed", "not a database"),
    ],
)
def test_a_damaged_store_is_found(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], None],
    state: str,
    told: str,
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    make(tmp_path)
    (finding,) = check_store(tmp_path)
    assert finding.state == state and told in finding.detail


@pytest.mark.parametrize("uri", ["file:./mlruns", "./mlruns", "http://127.0.0.1:9"])
def test_a_store_that_mlflow_refuses_or_that_does_not_answer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    (finding,) = check_store(tmp_path)
    assert finding.state == "failed" and uri in finding.detail and finding.remedy


def test_a_full_disk_and_a_proxy_are_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "all_proxy", "ALL_PROXY", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    assert [f.what for f in check_system() if f.state == "warning"][-1] == "proxy"
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    assert "proxy" not in [f.what for f in check_system()]
    monkeypatch.setattr(checks, "ENOUGH_GB", 1e9)
    (finding,) = check_disk(tmp_path)
    assert finding.state == "warning" and "vitrine gc" in finding.remedy


@pytest.mark.parametrize(
    ("states", "code", "told"),
    [
        (("ok", "ok"), 0, "All well."),
        (("ok", "warning"), 0, "It will run."),
        (("failed", "warning"), 1, "1 of 2 checks failed."),
    ],
)
def test_only_what_will_not_work_fails_and_every_problem_has_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, states: tuple[str, ...], code: int, told: str
) -> None:
    found = [
        Finding(f"thing {i}", state, "detail [x]", "" if state == "ok" else f"remedy {i}")  # type: ignore[arg-type]
        for i, state in enumerate(states)
    ]
    for name in ("check_system", "check_versions", "check_torch", "check_cpu"):
        monkeypatch.setattr(checks, name, list)
    monkeypatch.setattr(doctor, "check_workspace", lambda start: found)
    console = Console(record=True, width=100)
    assert doctor.examine(tmp_path, console, deep=False) == code
    text = console.export_text()
    assert told in text and text.count("detail [x]") == 2
    assert all((f"→ remedy {i}" in text) == (state != "ok") for i, state in enumerate(states))
