"""A new judge of attributes is one file, and its name in the judge panel (CONTRIBUTING.md)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.model.coloured_shapes import save_untrained_encoder
from tests.model.encoder.conftest import TINY
from tests.model.opal.refine_shop import Shop

ROOT = Path(__file__).parents[2]
JUDGE = """
from components.opal.refine.decisions import Decision
from components.opal.refine.judge import Inputs, Opened

class RecalledMakerJudge:
    def judge(self, listings):
        return [[self._decision()] if x.attributes.get("maker") == "Tarnow" else [] for x in listings]

    def _decision(self):
        return Decision("attributes", "maker", "Tarnow", "drop", "", "recalled_maker", "was recalled")

def open_judge(inputs: Inputs) -> Opened:
    return Opened(RecalledMakerJudge())
"""


def changed(root: Path) -> None:
    """The change as CONTRIBUTING.md describes it, in the copy at ``root``."""
    refine = root / "components/opal/refine"
    (refine / "judges/recalled_maker.py").write_text(JUDGE)
    panel = refine / "judge_panel.py"
    text = panel.read_text()
    for before, after in (
        ("import mllm, printed_text, schema", "import mllm, printed_text, recalled_maker, schema"),
        ("support, mllm)", "support, mllm, recalled_maker)"),
    ):
        assert text.count(before) == 1
        text = text.replace(before, after)
    panel.write_text(text)


def test_a_new_judge_is_one_file_and_its_name_in_the_panel(tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(ROOT / "components", root / "components", ignore=shutil.ignore_patterns("__pycache__"))
    changed(root)
    work = tmp_path / "work"
    save_untrained_encoder(work / "models/encoder", TINY)
    shop = Shop(work, 120)
    shop.write()
    done = subprocess.run(
        [sys.executable, "-m", "components.stage", "opal.refine"],
        cwd=work,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    dropped = [r for r in shop.read("decisions") if r["judge"] == "recalled_maker"]
    recalled = [p.product_id for p in shop.products if p.attributes["maker"] == "Tarnow"]
    assert [r["product_id"] for r in dropped] == recalled and recalled
    assert {r["reason"] for r in dropped} == {"was recalled"}
    for product_id, row in shop.refined().items():
        assert ("maker" in row["attributes"]) == (product_id not in recalled)
