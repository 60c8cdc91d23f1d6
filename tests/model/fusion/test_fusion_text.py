"""Product texts: fields and phrases, masking, and the towers that read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from components.encoder.model.errors import ModelFileError
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.towers.files import load_encoder
from components.fusion.model.align.train import AlignmentStage, towers_to_train
from components.fusion.model.data.product_text import field_text, phrases, plain, product_text
from components.fusion.model.errors import FusionConfigurationError, FusionDataError
from components.fusion.model.params import AlignmentParams, EncodeParams, FusionParams, ProductTextParams
from components.fusion.model.towers.aligned import AlignedTowers, LoadedTowers, load_towers, save_towers
from components.fusion.model.towers.product_texts import FieldFeatures, WholeTexts
from components.fusion.model.towers.towers import Towers
from tests.model.damaged_weights import DAMAGE
from tests.model.fusion.conftest import ENCODE

ROWS: list[dict[str, Any]] = [
    {"title": "Red mug", "product_type": "mug", "description": "made to last",
     "attributes": [{"name": "accent_colour", "value": "blue"}, {"name": "colour", "value": "red"}]},
    {"title": "", "product_type": "lamp", "description": "", "attributes": []},
    {"title": "<description> of <pad>", "product_type": "", "description": "", "attributes": None},
    {"title": "mug " * 60, "product_type": "mug", "description": "never seen", "attributes": []},
    {"title": "", "product_type": "", "description": "", "attributes": []},
]  # fmt: skip


EVERY = np.arange(len(ROWS))


@pytest.fixture
def text(blocks: dict[str, Any]) -> ProductTextParams:
    return ProductTextParams.model_validate(blocks["fusion"]["text"])


@pytest.fixture
def reader(shop: Path) -> BatchEncoder:
    return BatchEncoder(load_encoder(shop / "models/encoder"), 16, "fp32")


def started(shop: Path, blocks: dict[str, Any], **fields: Any) -> LoadedTowers:
    """Towers before any training."""
    fusion = FusionParams.model_validate(blocks["fusion"])
    params = AlignmentParams.model_validate(blocks["align_text"])
    stage = AlignmentStage("align_text", fusion, params, shop / "models/encoder", **fields)
    return towers_to_train(load_towers(stage.start), stage)


def test_each_field_stands_behind_its_marker(text: ProductTextParams) -> None:
    said = product_text(ROWS[0], text.fields)
    assert said == "title: Red mug type: mug attributes: accent blue, red description: made to last"
    assert product_text(ROWS[1], text.fields) == "type: lamp"
    assert product_text(ROWS[4], text.fields) == ""
    assert product_text(ROWS[2], text.fields) == "title: description of pad"
    assert plain(" a\n<title>  b ") == "a title b"


def test_a_field_is_its_phrases() -> None:
    row = {**ROWS[0], "description": "Made to last. Lovingly finished!  5.5 cm <pad> wide"}
    assert phrases(row, "description") == ["Made to last.", "Lovingly finished!", "5.5 cm pad wide"]
    assert phrases(row, "attributes") == ["accent blue", "red"] and phrases(row, "title") == ["Red mug"]
    assert phrases(ROWS[4], "title") == phrases(ROWS[2], "attributes") == []
    assert field_text(row, "attributes") == "accent blue, red"


def test_a_field_has_the_mean_features_of_its_phrases(text: ProductTextParams, reader: BatchEncoder) -> None:
    found = FieldFeatures.of(ROWS, text, reader)
    assert found.there.tolist()[1] == [False, True, False, False] and not found.there[4].any()
    for row, product in enumerate(ROWS):
        for at, field in enumerate(text.fields):
            if said := phrases(product, field):
                expected = reader.text_features(said).astype(np.float32).mean(axis=0)
                assert np.allclose(found.features[row, at], expected, atol=2e-3)
            else:
                assert not found.features[row, at].any()
    drawn = found.draw(EVERY, None).numpy()
    assert np.array_equal(drawn[:, :-4].reshape(found.features.shape), found.features.astype(np.float32))
    assert np.array_equal(drawn[:, -4:], found.there)


def test_masking_hides_whole_fields_and_never_all(text: ProductTextParams, shop: Path) -> None:
    loaded = load_encoder(shop / "models/encoder")
    always = text.model_copy(update={"masking": dict.fromkeys(text.fields, 1.0)})
    no_title = text.model_copy(update={"masking": dict.fromkeys(text.fields, 0.0) | {"title": 1.0}})
    untitled = [{**ROWS[0], "title": ""}]
    for make in (
        lambda rows, params: FieldFeatures.of(rows, params, BatchEncoder(loaded, 16, "fp32")),
        lambda rows, params: WholeTexts(rows, params, loaded.tokenizer),
    ):
        whole, rng = make(ROWS, text).draw(EVERY, None), np.random.default_rng(0)
        assert torch.equal(make(ROWS, always).draw(EVERY, rng), whole)
        masked = make(ROWS, no_title).draw(EVERY[:1], rng)
        assert torch.equal(masked, make(untitled, text).draw(EVERY[:1], None))


def test_whole_texts_are_the_tokens_of_the_text(text: ProductTextParams, shop: Path) -> None:
    tokenizer = load_encoder(shop / "models/encoder").tokenizer
    drawn = WholeTexts(ROWS, text, tokenizer).draw(EVERY, None).numpy()
    assert np.array_equal(drawn, tokenizer([product_text(row, text.fields) for row in ROWS]))


def test_without_a_head_for_fields_a_text_is_the_mean_of_its_fields(
    text: ProductTextParams, shop: Path, reader: BatchEncoder
) -> None:
    encoder = load_encoder(shop / "models/encoder").encoder
    drawn = FieldFeatures.of(ROWS[:2], text, reader).draw(EVERY[:2], None)
    with torch.inference_mode():
        found = AlignedTowers(encoder, None).product_vectors(drawn)
        fields = drawn[0, :-4].unflatten(0, (4, -1))
        expected = encoder.text_vectors(fields.mean(dim=0, keepdim=True))
    assert torch.allclose(found[:1], expected, atol=1e-5)


@pytest.mark.parametrize("by_field", [True, False])
def test_saved_towers_read_the_same(
    by_field: bool, shop: Path, blocks: dict[str, Any], tmp_path: Path
) -> None:
    blocks["fusion"]["text"]["by_field"] = by_field
    towers = started(shop, blocks)
    save_towers(towers, tmp_path / "towers")
    files = {path.name for path in (tmp_path / "towers").iterdir()}
    assert files == {"encoder"} | ({"fields.safetensors", "checksums.json"} if by_field else set())
    found = load_towers(tmp_path / "towers")
    text, encode = ProductTextParams.model_validate(blocks["fusion"]["text"]), EncodeParams(**ENCODE)
    one, other = (Towers(t, text, encode, None, 1) for t in (towers, found))
    assert np.array_equal(one.texts(ROWS)[0], other.texts(ROWS)[0])
    assert np.array_equal(one.queries(["red mug"]), other.queries(["red mug"]))
    assert one.texts(ROWS)[1].tolist() == [True, True, True, True, False]
    assert (found.model_sha256 == load_encoder(tmp_path / "towers/encoder").model_sha256) != by_field


def test_a_text_has_the_same_bits_whatever_stands_beside_it(shop: Path, blocks: dict[str, Any]) -> None:
    text, encode = ProductTextParams.model_validate(blocks["fusion"]["text"]), EncodeParams(**ENCODE)
    together, alone = (Towers(started(shop, blocks), text, encode, None, 1) for _ in range(2))
    every, there = together.texts(ROWS)
    for at, row in enumerate(ROWS):
        assert np.array_equal(alone.texts([row])[0][0], every[at])
    assert np.isfinite(every).all() and not every[~there].any()


def test_broken_or_foreign_tower_files_are_refused(
    shop: Path, blocks: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "towers"
    save_towers(started(shop, blocks), folder)
    whole = (folder / "fields.safetensors").read_bytes()
    (folder / "fields.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FusionDataError, match=r"fields\.safetensors cannot be loaded"):
        load_towers(folder)
    save_file({"layers.1.weight": torch.zeros(3, 2)}, folder / "fields.safetensors", {"fields": "title"})
    with pytest.raises(FusionDataError, match="cannot be loaded"):
        load_towers(folder)
    (folder / "fields.safetensors").write_bytes(whole)
    (folder / "optimizer.pkl").write_bytes(b"")
    with pytest.raises(FusionDataError, match=r"alone, not optimizer\.pkl"):
        load_towers(folder)
    (folder / "optimizer.pkl").unlink()
    (folder / "encoder/heads.safetensors").write_bytes(b"cut")
    with pytest.raises(ModelFileError, match="cannot be loaded"):
        load_towers(folder)


@pytest.mark.parametrize("how", DAMAGE)
def test_a_head_that_is_not_the_one_that_was_saved_is_refused(
    shop: Path, blocks: dict[str, Any], tmp_path: Path, how: str
) -> None:
    save_towers(started(shop, blocks), tmp_path / "towers")
    damage, told = DAMAGE[how]
    damage(tmp_path / "towers/fields.safetensors")
    with pytest.raises(FusionDataError, match=told):
        load_towers(tmp_path / "towers")


def test_towers_that_read_other_fields_are_refused(shop: Path, blocks: dict[str, Any]) -> None:
    towers, encode = started(shop, blocks), EncodeParams(**ENCODE)
    text = ProductTextParams.model_validate(blocks["fusion"]["text"] | {"by_field": False})
    with pytest.raises(FusionConfigurationError, match="Run align_text again"):
        Towers(towers, text, encode, None, 1)


def test_new_heads_keep_the_towers_and_nothing_else(shop: Path, blocks: dict[str, Any]) -> None:
    old = load_encoder(shop / "models/encoder").encoder.state_dict()
    new = started(shop, blocks, new_heads=True).encoder.encoder.state_dict()
    assert all(torch.equal(old[name], new[name]) for name in old if not name.startswith("heads."))
    name = "heads.text.layers.1.weight"
    assert not torch.equal(old[name], new[name])
