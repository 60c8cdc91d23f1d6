"""The study's stages, each run as its graph says: what they read is there, what they promise is made."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.stage.frame import main
from tests.model.fusion.conftest import BLOCKS

ROOT = Path(__file__).parents[3]


def stages() -> Iterator[dict[str, Any]]:
    """Fusion's stages of the study as DVC resolves them, in the order of the file."""
    from dvc.repo import Repo

    with Repo(ROOT) as repo:
        for stage in repo.index.stages:
            if stage.path_in_repo == "studies/dvc.yaml" and stage.meta["system"] == "fusion":
                deps = [dep.def_path for dep in stage.deps if dep.def_path != "params.yaml"]
                yield {"cmd": stage.cmd, "deps": deps, "outs": [out.def_path for out in stage.outs]}


@pytest.fixture(scope="module")
def studied(shop: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which every study stage of fusion has run."""
    root = tmp_path_factory.mktemp("studied")
    blocks = copy.deepcopy(BLOCKS)
    for block in ("align_text", "align_image", "fuse"):
        blocks[block]["optimisation"] |= {"steps": 2}
    (root / "params.yaml").write_text(yaml.safe_dump(blocks))
    (root / "models").mkdir()
    (root / "data").symlink_to(shop / "data")
    (root / "models/encoder").symlink_to(shop / "models/encoder")
    (root / "models/fusion").symlink_to(trained / "models/fusion")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for stage in stages():
            data = [dep for dep in stage["deps"] if not dep.startswith("components/")]
            assert all((root / dep).exists() for dep in data), f"{stage['cmd']} reads {data}"
            assert main(stage["cmd"].split()[3:]) == 0, stage["cmd"]
            assert all((root / out).exists() for out in stage["outs"]), (
                f"{stage['cmd']} makes {stage['outs']}"
            )
    return root


def test_the_study_has_every_row_and_claim(studied: Path) -> None:
    metrics = json.loads((studied / "metrics/study_fusion.json").read_text())
    networks = {"concat_mlp", "gated_sum", "cross_attention", "moe", "bilinear", "moe_bilinear"}
    plain = {"bm25", "hybrid", "hybrid_image", "text_only", "image_only", "average", "fixed_weights"}
    plain |= {"hybrid_image_type", "moe_bilinear_vectors"}
    ablations = {f"{r}_{a}" for r in ("moe_bilinear", "text_only")
                 for a in ("no_domain", "no_query_text", "no_query_image",
                           "no_pictures", "no_lexical")}  # fmt: skip
    seeds = {
        f"{r}_{s}" for r in ("moe_bilinear", "concat_mlp", "text_only") for s in ("43", "59", "all_seeds")
    }
    assert set(metrics) == networks | plain | ablations | seeds | {"_tests"}
    claims = [test for test in metrics["_tests"] if "claim" in test]
    for claim in {test["claim"] for test in claims}:
        by_seed = {test["seed"]: test for test in claims if test["claim"] == claim}
        assert set(by_seed) == {"own", "43", "59", "pooled"}
        mean = sum(by_seed[seed]["difference"] for seed in ("own", "43", "59")) / 3
        assert by_seed["pooled"]["difference"] == pytest.approx(mean, abs=1e-9)
        assert len({test["n"] for test in by_seed.values()}) == 1, "the same queries, not three times as many"
    assert len({test["claim"] for test in claims}) == 2


def test_another_seed_gives_other_towers_and_networks(studied: Path) -> None:
    one, other = (studied / f"models/study/fusion/{seed}" for seed in (43, 59))
    for file in ("align_text/fields", "align_image/encoder/heads", "moe_bilinear/model"):
        assert (one / f"{file}.safetensors").read_bytes() != (other / f"{file}.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["model.fuse", "network=moo"], "'moo' is none of concat_mlp"),
        (["model.fuse"], "network: Field required"),
        (
            ["model.align_image", "align_image.seed=lucky"],
            "align_image.seed: Input should be a valid integer",
        ),
        (["model.align_image", "new_weights=true"], "new_weights: unknown key"),
    ],
)
def test_a_setting_that_a_stage_does_not_have_is_told(
    words: list[str], told: str, studied: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(studied)
    assert main([f"fusion.{words[0]}", *words[1:]]) == 2
    assert told in capsys.readouterr().err


def test_a_study_that_is_not_there_or_stands_on_unknown_towers_is_told(
    studied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(studied)
    assert main(["fusion.evaluate", f"study={tmp_path}"]) == 4
    assert "There are no variations in" in capsys.readouterr().err
    shutil.copytree("models/study/fusion/43/moe_bilinear", tmp_path / "43/moe_bilinear")
    assert main(["fusion.evaluate", f"study={tmp_path}"]) == 4
    assert "trained on towers that are neither there nor in" in capsys.readouterr().err
