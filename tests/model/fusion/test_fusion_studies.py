"""The study's stages, each run as its graph says: what they read is there, what they promise is made."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.fusion.__main__ import COMMANDS
from components.stage.frame import run
from tests.model.fusion.conftest import BLOCKS

ROOT = Path(__file__).parents[3]
DOORS = {command.__name__: command for command in COMMANDS}


def stages() -> Iterator[dict[str, Any]]:
    """Fusion's stages of the study, matrices spelled out, in the order of the file."""
    text = yaml.safe_load((ROOT / "studies/dvc.yaml").read_text())
    for stage in text["stages"].values():
        if stage["meta"]["system"] != "fusion":
            continue
        matrix = stage.get("matrix", {})
        for values in itertools.product(*matrix.values()):
            written = json.dumps({k: stage[k] for k in ("cmd", "deps", "outs")})
            for name, value in zip(matrix, values, strict=True):
                written = written.replace(f"${{item.{name}}}", str(value))
            yield json.loads(written)


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
            assert run("fusion", DOORS, stage["cmd"].split()[3:]) == 0, stage["cmd"]
            made = [next(iter(out)) if isinstance(out, dict) else out for out in stage["outs"]]
            assert all((root / out).exists() for out in made), f"{stage['cmd']} makes {made}"
    return root


def test_the_study_has_every_row_and_claim(studied: Path) -> None:
    metrics = json.loads((studied / "metrics/study_fusion.json").read_text())
    networks = {"concat_mlp", "gated_sum", "cross_attention", "moe", "bilinear", "moe_bilinear"}
    plain = {"bm25", "text_only", "image_only", "average", "fixed_weights", "moe_bilinear_no_pictures"}
    ablations = {f"{r}_{a}" for r in ("moe_bilinear", "text_only")
                 for a in ("no_domain", "no_query_text", "no_query_image")}  # fmt: skip
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


def test_seeds_change_towers_and_networks(studied: Path) -> None:
    models = studied / "models/study/fusion"
    for file in ("align_text_{}/words.safetensors", "align_image_{}/encoder/model.safetensors"):
        assert (models / file.format(43)).read_bytes() != (models / file.format(59)).read_bytes()
    one, other = ((models / f"moe_bilinear_{s}/model.safetensors").read_bytes() for s in (43, 59))
    assert one != other


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("study", "moo", "own"), "'moo' is none of concat_mlp"),
        (("study", "moe", "lucky"), "'lucky' is no seed"),
        (("study", "no_domain", "43"), "has one seed"),
        (
            ("study_align", "align_text", "no_query_text", "own"),
            "'no_query_text' is none of whole",
        ),
        (("study_align", "align_both", "whole", "43"), "'align_both' is none of"),
        (("fuse", "mor"), "'mor' is none of"),
    ],
)
def test_what_is_no_training_is_told(
    words: tuple[str, ...], told: str, studied: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(studied)
    assert run("fusion", DOORS, words) == 2
    assert told in capsys.readouterr().err
