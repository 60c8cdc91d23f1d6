"""A folder where a stage runs as if it were the root of a workspace."""

from __future__ import annotations

from pathlib import Path

import pytest


def enter(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to ``root``, away from the parameters and the stage name of whoever runs the tests."""
    monkeypatch.chdir(root)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    monkeypatch.delenv("VITRINE_PARAMS", raising=False)
    return root
