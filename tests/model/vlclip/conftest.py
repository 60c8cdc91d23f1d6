"""The shop of squares and bars, written once for all tests of VL-CLIP."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from tests.in_process import run_stage
from tests.model.vlclip.squares_shop import write_catalogue, write_clarified, write_encoder, write_params


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with catalogue, truth, clarified texts, encoder and parameters; do not write into it."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("vlclip")
    write_catalogue(root)
    write_clarified(root)
    write_encoder(root / "models/encoder")
    write_params(root)
    return root


@pytest.fixture(scope="session")
def grounded(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with boxes; do not write into it."""
    root = tmp_path_factory.mktemp("grounded")
    for name in ("data", "models"):
        shutil.copytree(shop / name, root / name)
    write_params(root)
    done = run_stage(root, "grounding")
    assert done.returncode == 0, done.stderr
    return root
