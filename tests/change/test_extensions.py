"""Extensions as CONTRIBUTING.md describes them, made in a copy: a fusion network, a judge and a metric."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

from components.fusion.model.towers.aligned import load_towers, save_towers
from tests.model.coloured_shapes import save_untrained_encoder
from tests.model.encoder.conftest import TINY
from tests.model.fusion.conftest import BLOCKS, write_encoder, write_shop
from tests.model.opal.refine_shop import Shop

ROOT = Path(__file__).parents[2]
NETWORKS = "components/fusion/model/networks"
JUDGE = """
from components.opal.refine.decisions import Decision
from components.opal.refine.judge import JudgeInputs, OpenedJudge

class RecalledMakerJudge:
    def judge(self, listings):
        return [[self._decision()] if x.attributes.get("maker") == "Tarnow" else [] for x in listings]

    def _decision(self):
        return Decision("attributes", "maker", "Tarnow", "drop", "", "recalled_maker", "was recalled")

def open_judge(inputs: JudgeInputs) -> OpenedJudge:
    return OpenedJudge(RecalledMakerJudge())
"""
MEASURE = """
def title_words(found: ListingComparison) -> float:
    return float(len(found.title.split()))


# What is measured"""
# All in one process, for most of its time goes into imports.
SCRIPT = """
import json, os, sys
import numpy as np
from components.catalog.format.schema import CatalogSchema
from components.opal.evaluate.listings.evaluation import ListingEvaluation
from components.opal.evaluate.listings.held_out import HeldOutListings
from components.opal.evaluate.listings.measures import Target
from components.opal.model.listing_text import Listing
from components.opal.model.writing.generate import Generated
from components.stage.frame import main

for folder, *words in json.loads(sys.argv[1]):
    os.chdir(folder)
    if main(words):
        sys.exit(f"{words} failed")
schema = CatalogSchema.model_validate({"categories": {"c": {"product_types": ["t"], "attributes": {}}}})
said = [Listing("a cup"), Listing("a red cup"), Listing("one more red cup")]
targets = [Target(str(i), "c", listing) for i, listing in enumerate(said)]
held_out = HeldOutListings(np.arange(3), targets, list("xyz"), [set()] * 3, said, said)
evaluation = ListingEvaluation(held_out, schema, 1, 100)
written = [Generated(listing.title, listing) for listing in said]
evaluation.add("copy", written, written)
rows = evaluation.tables()["copy.parquet"].to_pylist()
print(json.dumps([evaluation.metrics()["copy"]["title_words"], [r["title_words"] for r in rows]]))
"""


def edit(file: Path, *changes: tuple[str, str]) -> None:
    text = file.read_text()
    for before, after in changes:
        assert text.count(before) == 1
        text = text.replace(before, after)
    file.write_text(text)


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code with the three extensions."""
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "components", copy / "components")
    section = (ROOT / "CONTRIBUTING.md").read_text().split("## A new fusion network")[1]
    shown = re.search(r"```python\n(.*?)\n *```", section, re.DOTALL)
    assert shown
    (copy / NETWORKS / "largest.py").write_text(textwrap.dedent(shown[1]) + "\n")
    edit(copy / NETWORKS / "names.py", ("STUDIED = [", 'STUDIED = ["largest", '))

    refine, measures = copy / "components/opal/refine", copy / "components/opal/evaluate/listings/measures.py"
    (refine / "judges/recalled_maker.py").write_text(JUDGE)
    edit(
        refine / "judge_panel.py",
        ("import mllm, printed_text, schema", "import mllm, printed_text, recalled_maker, schema"),
        ("support, mllm)", "support, mllm, recalled_maker)"),
    )
    edit(
        measures,
        ("\n# What is measured", MEASURE),
        ("    title_bleu,\n", "    title_bleu,\n    title_words,\n"),
    )
    return copy


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop whose listings are to be refined."""
    root = tmp_path_factory.mktemp("kitchen")
    save_untrained_encoder(root / "models/encoder", TINY)
    shop = Shop(root, 120)
    shop.write()
    return shop


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny shop with aligned towers."""
    root = tmp_path_factory.mktemp("squares")
    write_shop(root / "data/checked")
    write_encoder(root / "models/encoder")
    (root / "models/fusion").mkdir()
    save_towers(load_towers(root / "models/encoder"), root / "models/fusion/align_image")
    (root / "params.yaml").write_text(yaml.safe_dump(BLOCKS))
    return root


@pytest.fixture(scope="module")
def printed(changed: Path, kitchen: Shop, squares: Path) -> str:
    """What the stages print that meet the extensions; at the end, figures of three titles."""
    commands = [
        [str(kitchen.root), "opal.refine"],
        [str(squares), "fusion.model.fuse", "network=largest"],
        [str(squares), "fusion.evaluate", "fusion_eval.networks=[largest]"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(commands)],
        cwd=changed,
        env=os.environ | {"PYTHONPATH": str(changed), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_new_network_is_trained_published_and_evaluated(printed: str, squares: Path) -> None:
    config = json.loads((squares / "models/fusion/largest/config.json").read_text())
    assert config["network"] == "largest" and (squares / "plots/fuse_largest.csv").exists()
    metrics = json.loads((squares / "metrics/fusion.json").read_text())
    assert metrics["largest"]["ndcg_at_10"]["n"] == 8
    assert {"text_only", "bm25"} <= set(metrics) and "concat_mlp" not in metrics


def test_the_study_trains_a_new_network(changed: Path) -> None:
    for name in (".dvc", "studies"):
        shutil.copytree(ROOT / name, changed / name, ignore=shutil.ignore_patterns("cache", "tmp", "*.lock"))
    subprocess.run(["git", "init", "-q"], cwd=changed, check=True)
    with Repo(changed) as repo:
        known = {stage.name for stage in repo.index.stages if stage.path_in_repo == "studies/dvc.yaml"}
    assert "fusion_network@largest" in known


def test_a_new_judge_is_one_file_and_its_name_in_the_panel(printed: str, kitchen: Shop) -> None:
    dropped = [r for r in kitchen.read("decisions") if r["judge"] == "recalled_maker"]
    recalled = [p.product_id for p in kitchen.products if p.attributes["maker"] == "Tarnow"]
    assert [r["product_id"] for r in dropped] == recalled and recalled
    assert {r["reason"] for r in dropped} == {"was recalled"}
    for product_id, row in kitchen.refined().items():
        assert ("maker" in row["attributes"]) == (product_id not in recalled)


def test_a_new_measure_is_one_function_and_its_name_in_the_list(printed: str) -> None:
    figure, per_product = json.loads(printed.splitlines()[-1])
    assert per_product == [2, 3, 4]
    assert figure["value"] == 3 and figure["n"] == 3 and figure["low"] < 3 < figure["high"]
