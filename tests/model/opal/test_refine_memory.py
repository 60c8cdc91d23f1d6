"""Memory of the refinement does not grow with the catalogue."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.model.opal.refine_shop import Shop
from tests.model.opal.test_refine_stage import model  # noqa: F401 - a fixture

ROOT = Path(__file__).parents[3]
MEGABYTE = 2**20


def peak(folder: Path, model: Path, count: int) -> int:  # noqa: F811
    """Peak bytes of the stage's process on ``count`` listings."""
    folder.mkdir()
    (folder / "models").mkdir()
    (folder / "models/encoder").symlink_to(model)
    shop = Shop(folder, count)
    shop.params["batch_products"] = 256
    shop.params["support"]["calibration_products"] = 200
    shop.write()
    done = subprocess.run(
        [sys.executable, "-m", "components.stage", "opal.refine"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (record,) = (folder / ".vitrine/records/opal.refine").glob("*.json")
    return int(json.loads(record.read_text())["peak_memory_bytes"])


@pytest.mark.slow
def test_eight_times_the_listings_take_no_more_memory(tmp_path: Path, model: Path) -> None:  # noqa: F811
    small, large = peak(tmp_path / "small", model, 1200), peak(tmp_path / "large", model, 9600)
    assert large - small < 24 * MEGABYTE  # caches fill up; one listing more costs next to nothing
