"""``vitrine search --system fusion``: from a trained workspace to a table and to JSON."""

from __future__ import annotations

import copy
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from components.encoder.search.conditions import conditions
from components.fusion.model.errors import FusionConfigurationError
from components.fusion.model.params import EncodeParams
from components.search.command import main, read_parts
from components.search.kept import KEPT, forget_oldest
from components.search.search import open_model, search
from flows.cli import app, guarded
from tests.model.coloured_shapes import picture
from tests.model.fusion.conftest import BLOCKS, ENCODE

NOTHING = ["colour=red", "colour=blue"]  # no product has both


def workspace(shop: Path, trained: Path, root: Path) -> Path:
    """A workspace with the trained models, as git and DVC see one."""
    blocks = copy.deepcopy(BLOCKS) | {
        "fusion_search": {"network": "moe_bilinear", "threads": 1, "encode": ENCODE}
    }
    (root / "params.yaml").write_text(yaml.safe_dump(blocks))
    (root / "dvc.yaml").write_text("stages: {}\n")
    (root / ".dvc").mkdir()
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    (root / "models").mkdir()
    (root / "data").symlink_to(shop / "data")
    (root / "models/fusion").symlink_to(trained / "models/fusion")
    return root


@pytest.fixture(scope="module")
def root(shop: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace for searches, which keep what they compute of its products."""
    return workspace(shop, trained, tmp_path_factory.mktemp("search"))


@pytest.fixture
def own(shop: Path, trained: Path, tmp_path: Path) -> Path:
    """A workspace of its own, where nobody has searched."""
    return workspace(shop, trained, tmp_path)


def test_the_command_gives_what_search_finds(
    root: Path, shop: Path, trained: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(root)
    words = ["search", "red mug", "--system", "fusion", "--k", "5", "--json"]

    def here(_: Path, command: list[str]) -> None:
        """The module that the command starts, in this process: without seconds of imports."""
        monkeypatch.setattr(sys, "argv", command[2:])
        with pytest.raises(SystemExit) as ended:
            runpy.run_module(command[2], run_name="__main__")
        assert not ended.value.code

    monkeypatch.setattr("flows.importing.passed_on", here)
    assert guarded(lambda: app(words)) == 0
    found = json.loads(capfd.readouterr().out)
    model = open_model(
        trained / "models/fusion", "moe_bilinear", EncodeParams.model_validate(ENCODE), None, 1
    )
    expected = search(model, "red mug", 5, (), shop / "data/checked")
    assert [hit["product_id"] for hit in found] == [hit.product_id for hit in expected.hits]
    assert [hit["rank"] for hit in found] == [1, 2, 3, 4, 5]
    assert set(found[0]) == {"rank", "score", "product_id", "title", "product_type", "attributes"}


def test_search_prints_a_table_and_obeys_its_conditions(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(root)
    red_mugs = ("--where=colour=red", "--where=product_type=mug")
    assert main(["--k=3", "--system=fusion", *red_mugs, "--", "mug for tea"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("mug") >= 3 and "red" in shown and "score" in shown
    assert "Ranked by moe_bilinear's" in shown
    assert main([*(f"--where={asked}" for asked in NOTHING), "--", "mug"]) == 0
    assert "Nothing found" in capsys.readouterr().out
    for words, told, code in (
        (["--where=colour=rad", "mug"], "did you mean 'red'", 2),
        (["--where=color=red", "mug"], "did you mean 'colour'", 2),
        (["--where=colour", "mug"], "--where takes name=value", 2),
        (["--k=0", "mug"], "--k must be at least 1", 2),
        (["<>"], "not empty", 4),
    ):
        assert main(words) == code
        assert told in capsys.readouterr().err


def test_what_search_cannot_do_is_told(
    own: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(own)
    assert main(["mug", "--system", "opal"]) == 2
    assert "--system takes encoder, fusion, bm25" in " ".join(capfd.readouterr().err.split())
    (own / "photo.png").write_bytes(b"")
    assert main(["mug", "--system", "fusion", "--image", "photo.png"]) == 2
    assert "asked by a text alone" in " ".join(capfd.readouterr().err.split())
    (own / "models/fusion").unlink()
    assert main(["mug", "--system", "fusion"]) == 4
    assert "There is no model" in capfd.readouterr().err


def photo(root: Path, colour: str, mug: bool) -> str:
    """A new photo, which is not of the catalogue."""
    (root / "photo.png").write_bytes(picture(colour, mug, 999))
    return "photo.png"


def hits(capfd: pytest.CaptureFixture[str], *words: str) -> list[dict[str, object]]:
    """What a search prints for programs."""
    assert main([*words, "--k=40", "--json"]) == 0
    found: list[dict[str, object]] = json.loads(capfd.readouterr().out)
    return found


def test_what_validation_prefers_answers_and_says_so(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(root)
    preferred = json.loads((root / "models/fusion/answer.json").read_text())["system"]
    assert main(["red mug"]) == 0
    assert f"{preferred} answers by default: 8 validation queries" in capfd.readouterr().out
    assert hits(capfd, "red mug") == hits(capfd, "red mug", f"--system={preferred}")
    for system in ("bm25", "hybrid", "hybrid_image", "hybrid_image_type", "concat_mlp", "moe_bilinear"):
        assert main(["red mug", "--system", system]) == 0
        assert f"{system} answers, as asked." in " ".join(capfd.readouterr().out.split())


def test_words_that_no_product_has_are_told(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(root)
    for system in ("bm25", "hybrid", "moe_bilinear"):
        assert main(["red curtain \x1b[31m", "--system", system]) == 0
        told = capfd.readouterr().err
        assert "No product's text has: curtain" in told and "\x1b" not in told
    assert main(["red mugg", "--system=bm25"]) == 0
    assert capfd.readouterr().err == "No product's text has: mugg (did you mean mug?).\n"
    assert main(["red mug"]) == 0
    assert not capfd.readouterr().err


def test_a_picture_that_is_none_and_an_impossible_condition_are_told_before_a_model_is_opened(
    own: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(own)
    monkeypatch.setattr("components.search.sums.load_towers", None)
    monkeypatch.setattr("components.search.search.load_towers", None)
    for name, content, told in (("scan.jpg", b"%PDF-1.4", "not a JPEG"), ("none.png", b"", "is empty")):
        (own / name).write_bytes(content)
        assert main(["--image", name]) == 4
        assert f"error: The picture {name} " in (said := capfd.readouterr().err) and told in said
    assert main(["mug", "--where=colour=nocolour"]) == 2
    assert "No product has colour 'nocolour'" in capfd.readouterr().err


def test_the_type_of_a_query_is_inferred_and_told_where_none_fits(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(root)
    answer = root / "models/fusion/answer.json"
    assert json.loads(answer.read_text())["type_weight"] >= 0
    assert main(["a mug", "--system=hybrid_image_type"]) == 0
    said = capfd.readouterr()
    assert "the type" in " ".join(said.out.split()) and "product type" not in said.err
    monkeypatch.setattr("components.search.products.SURE", 1.1)
    assert main(["curtain", "--system=hybrid_image_type"]) == 0
    assert "No product type clearly fits this query" in capfd.readouterr().err


def test_an_unknown_thing_beside_a_picture_is_told_and_a_joining_word_is_not(
    own: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(own)
    image = f"--image={photo(own, 'red', mug=True)}"
    assert main(["mug", image]) == 0
    assert "vectors of all products" in capfd.readouterr().err, "the first search says what takes so long"
    assert main(["but curtain in blue", image]) == 0
    assert capfd.readouterr().err == "No product's text has: curtain.\n"


def test_unknown_words_and_nearness_do_not_depend_on_conditions(root: Path, shop: Path) -> None:
    model = open_model(root / "models/fusion", "moe_bilinear", EncodeParams.model_validate(ENCODE), None, 1)
    found = [
        search(model, "red curtain", 3, where, shop / "data/checked")
        for where in (conditions(asked) for asked in ([], ["product_type=lamp"], NOTHING))
    ]
    assert not found[2].hits and all(one.unknown == {"curtain": ""} for one in found)
    assert len({one.near for one in found}) == 1


def test_nothing_found_without_a_condition_blames_none(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(root)
    assert main(["curtain", "--system=bm25"]) == 0
    told = capsys.readouterr().out
    assert "no product has a word of the query" in told and "--where" not in told
    with pytest.raises(SystemExit):
        main(["mug", "--k", "\x1b[31m"])
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize("weights", ["text=1e308,image=1e308", "text=1,text=1", "text=0", "sound=1"])
def test_weights_that_say_nothing_are_refused(weights: str) -> None:
    with pytest.raises(FusionConfigurationError, match="--weights"):
        read_parts(weights)


def test_kept_vectors_that_are_cut_are_made_again(
    own: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(own)
    first = hits(capfd, "red mug", "--system=hybrid")
    (kept,) = (own / ".vitrine/cache/search").glob("*.npy")
    for length in (0, 5, kept.stat().st_size // 2):
        kept.write_bytes(kept.read_bytes()[:length])
        assert hits(capfd, "red mug", "--system=hybrid") == first


def test_arrays_that_nobody_asked_for_make_room(tmp_path: Path) -> None:
    names = [f"{i}.npy" for i in range(KEPT + 2)]
    for i, name in enumerate(names):
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (i, i))
    (tmp_path / names[0]).touch()
    (tmp_path / "other.lock").write_bytes(b"")
    forget_oldest(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([names[0], *names[3:], "other.lock"])


def test_a_picture_alone_and_both_parts_at_the_ends_of_the_weights(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(root)
    image = f"--image={photo(root, 'red', mug=True)}"
    alone = [hit["product_id"] for hit in hits(capfd, image)]
    both = ("but blue", image)
    by_picture = [hit["product_id"] for hit in hits(capfd, *both, "--weights=text=0,image=2")]
    by_text = [hit["product_id"] for hit in hits(capfd, *both, "--weights=text=1")]
    known = [hit["product_id"] for hit in hits(capfd, "blue", "--system=hybrid_image")]
    assert by_picture[:20] == alone[:20]
    assert by_text == known  # no product has "but"
