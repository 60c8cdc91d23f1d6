"""SIGKILL of every stage of OPAL as it publishes; a rerun must end as if nothing had happened.

At that moment everything is computed and nothing has its name: more cannot be lost. A kill in the middle of a
training, which then goes on from its checkpoint, is in test_listing_models.py.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from components.stage.frame import main
from components.stage.resume import sha256_folder
from tests.model.opal.listing_shop import blocks, write_workspace

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
KILLED = """
import os, signal, sys
from pathlib import Path
place = Path.replace
def replace(self, target):
    if Path(target).resolve() == Path(sys.argv[1]).resolve():
        os.kill(os.getpid(), signal.SIGKILL)
    return place(self, target)
Path.replace = replace
from components.stage.frame import main
sys.exit(main(sys.argv[2:]))
"""
STAGES = {
    "opal.refine": "data/refined",
    "opal.evaluate.refinement": "metrics/refine.json",
    "opal.model.sft variant=refined": "models/listing/sft_refined",
    "opal.model.sft variant=raw": "models/listing/sft_raw",
    "opal.model.preferences": "data/preferences",
    "opal.model.dpo": "models/listing/dpo",
    "opal.evaluate.listings": "metrics/listing.json",
}  # in this order


def contents(path: Path) -> object:
    return sha256_folder(path) if path.is_dir() else path.read_bytes()


def run(root: Path, stage: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.delenv("DVC_STAGE", raising=False)
        assert main(stage.split()) == 0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which every stage has run; tests must not write into it."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("kills")
    write_workspace(root)
    refine = {"support": None, "words": {"most_words": 1000, "min_count": 3, "typo_ratio": 8.0}}
    more = {"refine": refine, "llm": {}, "refine_eval": {"bootstrap_samples": 100}}
    (root / "params.yaml").write_text(yaml.safe_dump({**blocks(), **more}))
    for stage in STAGES:
        run(root, stage)
    return root


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_is_killed_leaves_nothing_half_done(
    stage: str, undisturbed: Path, tmp_path: Path
) -> None:
    root, out = tmp_path / "killed", STAGES[stage]
    shutil.copytree(undisturbed, root, symlinks=True)
    shutil.rmtree(root / out) if (root / out).is_dir() else (root / out).unlink()
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, out, *stage.split()],
        cwd=root, env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, capture_output=True,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (root / out).exists()
    run(root, stage)
    assert contents(root / out) == contents(undisturbed / out)
    assert not list((root / out).parent.glob(".*.tmp")), "what the killed process left is still there"
