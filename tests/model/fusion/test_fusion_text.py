"""Product texts: markers, masking, and tokens put together from fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from components.fusion.model.towers.files import load_towers, save_towers
from components.fusion.model.towers.starting_encoder import marked_tokenizer, starting_encoder
from safetensors.torch import save_file

from components.encoder.model.errors import ModelFileError
from components.encoder.model.towers.files import LoadedEncoder, load_encoder
from components.encoder.model.towers.tokenizer import ClipTokenizer
from components.fusion.model.data.product_text import (
    MARKER_TOKENS,
    ProductTokens,
    markers_of,
    plain,
    product_text,
)
from components.fusion.model.errors import TowerFileError
from components.fusion.model.params import FusionParams, ProductTextParams

ROWS: list[dict[str, Any]] = [
    {"title": "Red mug", "product_type": "mug", "description": "made to last",
     "attributes": [{"name": "accent_colour", "value": "blue"}, {"name": "colour", "value": "red"}]},
    {"title": "", "product_type": "lamp", "description": "", "attributes": []},
    {"title": "<description> of <pad>", "product_type": "", "description": "", "attributes": None},
    {"title": "mug " * 60, "product_type": "mug", "description": "never seen", "attributes": []},
    {"title": "", "product_type": "", "description": "", "attributes": []},
]  # fmt: skip


@pytest.fixture
def text(blocks: dict[str, Any]) -> ProductTextParams:
    return ProductTextParams.model_validate(blocks["fusion"]["text"])


def test_each_field_stands_behind_its_marker(text: ProductTextParams) -> None:
    said = product_text(ROWS[0], text.fields, MARKER_TOKENS)
    assert said == "<title> Red mug <type> mug <attributes> accent blue, red <description> made to last"
    assert product_text(ROWS[1], text.fields, MARKER_TOKENS) == "<type> lamp"
    assert product_text(ROWS[4], text.fields, MARKER_TOKENS) == ""


def test_a_seller_cannot_write_a_marker(text: ProductTextParams) -> None:
    assert product_text(ROWS[2], text.fields, MARKER_TOKENS) == "<title> description of pad"
    assert plain(" a\n<title>  b ") == "a title b"


@pytest.mark.parametrize("kind", ["own", "clip"])
def test_tokens_of_fields_are_the_tokens_of_the_text(kind: str, shop: Path, text: ProductTextParams) -> None:
    own = load_encoder(shop / "models/encoder").tokenizer
    tokenizer = marked_tokenizer(own if kind == "own" else ClipTokenizer(77), text.context_length)
    texts = [product_text(row, text.fields, markers_of(tokenizer)) for row in ROWS]
    drawn = ProductTokens(ROWS, text, tokenizer).draw(np.arange(len(ROWS)), None)
    assert np.array_equal(drawn, tokenizer(texts))


def test_masking_hides_whole_fields_and_never_all(shop: Path, text: ProductTextParams) -> None:
    tokenizer = marked_tokenizer(load_encoder(shop / "models/encoder").tokenizer, text.context_length)
    always = text.model_copy(update={"masking": dict.fromkeys(text.fields, 1.0)})
    whole = ProductTokens(ROWS, text, tokenizer).draw(np.arange(2), None)
    rng = np.random.default_rng(0)
    assert np.array_equal(ProductTokens(ROWS, always, tokenizer).draw(np.arange(2), rng), whole)
    no_title = text.model_copy(update={"masking": dict.fromkeys(text.fields, 0.0) | {"title": 1.0}})
    masked = ProductTokens(ROWS, no_title, tokenizer).draw(np.arange(1), rng)
    expected = product_text({**ROWS[0], "title": ""}, text.fields, MARKER_TOKENS)
    assert np.array_equal(masked, tokenizer([expected]))


def start(loaded: LoadedEncoder, blocks: dict[str, Any], keep: float = 1.0, **more: Any) -> LoadedEncoder:
    """Towers before any training; ``words=False`` leaves the word path out."""
    if not more.get("words", True):
        blocks = {**blocks["fusion"], "word_path": None}
    fusion = FusionParams.model_validate(blocks.get("fusion", blocks))
    return starting_encoder(loaded, fusion, more.get("seed", 1), keep, more.get("untrained", False))


def vectors(towers: LoadedEncoder, texts: list[str]) -> torch.Tensor:
    with torch.inference_mode():
        return towers.encoder.eval().encode_text(torch.from_numpy(towers.tokenizer(texts)))


def test_the_starting_encoder_reads_old_texts_as_before(shop: Path, blocks: dict[str, Any]) -> None:
    loaded = load_encoder(shop / "models/encoder")
    started = start(loaded, blocks, words=False)
    texts = ["red mug", "lamp in blue"]
    assert torch.allclose(vectors(loaded, texts), vectors(started, texts), atol=1e-6)
    marked = vectors(started, ["<title> red mug", "<type> red mug"])
    assert not torch.allclose(marked[0], marked[1], atol=1e-3)
    started = start(loaded, blocks)
    again = start(started, blocks, seed=9)
    pairs = zip(started.encoder.state_dict().items(), again.encoder.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for (_, a), b in pairs), "towers that have all of it keep their weights"


def test_the_word_path_finds_a_name_by_the_word_itself(shop: Path, blocks: dict[str, Any]) -> None:
    started = start(load_encoder(shop / "models/encoder"), blocks, untrained=True)
    asked = started.encoder.words(torch.from_numpy(started.tokenizer(["green"])))  # type: ignore[operator,union-attr]
    titles = ["green lamp made to last", "red lamp made to last", "lamp made to last green"]
    found = started.encoder.words(torch.from_numpy(started.tokenizer(titles)))  # type: ignore[operator,union-attr]
    likeness = (found @ asked.T)[:, 0].tolist()
    assert likeness[0] > likeness[1] + 0.2 and likeness[0] == pytest.approx(likeness[2], abs=1e-5)


def test_padding_and_neighbours_do_not_change_a_text(shop: Path, blocks: dict[str, Any]) -> None:
    started = start(load_encoder(shop / "models/encoder"), blocks)
    alone = vectors(started, ["red mug"])
    beside = vectors(started, ["red mug", "lamp in blue made to last number 3", ""])
    assert torch.allclose(alone[0], beside[0], atol=1e-6) and torch.isfinite(beside).all()
    tokens = torch.from_numpy(started.tokenizer(["red mug"]))
    with torch.inference_mode():
        cut = started.encoder.encode_text(tokens[:, : int(tokens.argmax()) + 1])
    assert torch.allclose(alone, cut, atol=1e-6)


@pytest.mark.parametrize("words", [True, False])
def test_saved_towers_read_the_same(words: bool, shop: Path, blocks: dict[str, Any], tmp_path: Path) -> None:
    started = start(load_encoder(shop / "models/encoder"), blocks, words=words)
    save_towers(started, tmp_path / "towers")
    files = {p.relative_to(tmp_path / "towers").as_posix() for p in (tmp_path / "towers").rglob("*.*")}
    plain = {"encoder/config.json", "encoder/model.safetensors", "encoder/tokenizer.json"}
    assert files == plain | ({"words.safetensors"} if words else set())
    found = load_towers(tmp_path / "towers")
    texts = ["red mug", "<title> lamp in blue"]
    assert torch.equal(vectors(found, texts), vectors(started, texts))
    assert (found.model_sha256 == load_encoder(tmp_path / "towers/encoder").model_sha256) != words


def test_broken_or_foreign_tower_files_are_refused(
    shop: Path, blocks: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "towers"
    save_towers(start(load_encoder(shop / "models/encoder"), blocks), folder)
    whole = (folder / "words.safetensors").read_bytes()
    (folder / "words.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TowerFileError, match=r"words\.safetensors cannot be loaded"):
        load_towers(folder)
    save_file({"table": torch.zeros(3, 2), "weight": torch.tensor(1.0)}, folder / "words.safetensors")
    with pytest.raises(TowerFileError, match="cannot be loaded"):
        load_towers(folder)
    (folder / "words.safetensors").write_bytes(whole)
    (folder / "optimizer.pkl").write_bytes(b"")
    with pytest.raises(TowerFileError, match=r"alone, not optimizer\.pkl"):
        load_towers(folder)
    (folder / "optimizer.pkl").unlink()
    (folder / "encoder/model.safetensors").write_bytes(b"cut")
    with pytest.raises(ModelFileError, match="cannot be loaded"):
        load_towers(folder)


def test_an_untrained_start_keeps_nothing_but_the_shape(shop: Path, blocks: dict[str, Any]) -> None:
    loaded = load_encoder(shop / "models/encoder")
    started = start(loaded, blocks, untrained=True)
    old, new = loaded.encoder.clip.text_projection, started.encoder.clip.text_projection
    assert old.shape == new.shape and not torch.allclose(old, new)


def test_a_shrunk_start_lies_between_the_old_and_a_new_text_tower(shop: Path, blocks: dict[str, Any]) -> None:
    loaded = load_encoder(shop / "models/encoder")
    old, half, new = (
        start(loaded, blocks, keep, untrained=untrained).encoder.state_dict()
        for keep, untrained in ((1.0, False), (0.5, False), (1.0, True))
    )
    name = "clip.text_projection"
    assert torch.allclose(half[name], (old[name] + new[name]) / 2, atol=1e-6)
    seen = [key for key in old if key.startswith("clip.visual.")]
    assert seen and all(torch.equal(half[key], old[key]) for key in seen), "pictures are seen as before"
