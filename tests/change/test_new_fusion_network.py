"""A new fusion network is one class and one word: the steps of CONTRIBUTING.md, done in a copy."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

from components.fusion.model.towers.aligned import load_towers, save_towers
from tests.model.fusion.conftest import BLOCKS, write_encoder, write_shop

ROOT = Path(__file__).parents[2]
NETWORKS = "components/fusion/model/networks"


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """A copy of the code with the class that CONTRIBUTING.md shows, and its word in the list."""
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "components", copy / "components", ignore=shutil.ignore_patterns("__pycache__"))
    section = (ROOT / "CONTRIBUTING.md").read_text().split("## A new fusion network")[1]
    shown = re.search(r"```python\n(.*?)\n *```", section, re.DOTALL)
    assert shown
    code = textwrap.dedent(shown[1])
    (copy / NETWORKS / "largest.py").write_text(code + "\n")
    names = copy / NETWORKS / "names.py"
    names.write_text(names.read_text().replace("STUDIED = [", 'STUDIED = ["largest", '))
    return copy


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A tiny shop with aligned towers."""
    root = tmp_path / "workspace"
    root.mkdir()
    write_shop(root / "data/checked")
    write_encoder(root / "models/encoder")
    (root / "models/fusion").mkdir()
    save_towers(load_towers(root / "models/encoder"), root / "models/fusion/align_image")
    (root / "params.yaml").write_text(yaml.safe_dump(BLOCKS))
    return root


def done(command: list[str], folder: Path, code: Path) -> str:
    """What a command prints that runs on the code of ``code``."""
    environment = {
        "PYTHONPATH": str(code),
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "OMP_NUM_THREADS": "1",
    }
    ended = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_a_new_network_is_trained_published_and_evaluated(changed: Path, workspace: Path) -> None:
    done(["components.stage", "fusion.model.fuse", "network=largest"], workspace, changed)
    config = json.loads((workspace / "models/fusion/largest/config.json").read_text())
    assert config["network"] == "largest" and (workspace / "plots/fuse_largest.csv").exists()
    done(["components.stage", "fusion.evaluate", "fusion_eval.networks=[largest]"], workspace, changed)
    metrics = json.loads((workspace / "metrics/fusion.json").read_text())
    assert metrics["largest"]["ndcg_at_10"]["n"] == 8
    assert {"text_only", "bm25"} <= set(metrics) and "concat_mlp" not in metrics


def test_the_study_trains_a_new_network(changed: Path) -> None:
    for name in (".dvc", "studies"):
        shutil.copytree(ROOT / name, changed / name, ignore=shutil.ignore_patterns("cache", "tmp", "*.lock"))
    subprocess.run(["git", "init", "-q"], cwd=changed, check=True)
    listed = done(["dvc", "stage", "list", "studies/dvc.yaml", "--name-only"], changed, changed)
    assert "studies/dvc.yaml:fusion_network@largest" in listed.split()
