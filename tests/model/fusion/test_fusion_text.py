"""Product texts: markers, masking, and tokens put together from fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from components.encoder.files import load_encoder
from components.encoder.tokenizer import ClipTokenizer
from components.fusion.params import ProductTextParams
from components.fusion.product_text import MARKER_TOKENS, ProductTokens, markers_of, plain, product_text
from components.fusion.starting_encoder import marked_tokenizer, starting_encoder

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


def test_the_starting_encoder_reads_old_texts_as_before(shop: Path) -> None:
    loaded = load_encoder(shop / "models/encoder")
    started = starting_encoder(loaded, 20, 1, 1.0, False)
    texts = ["red mug", "lamp in blue"]
    with torch.inference_mode():
        before = loaded.encoder.encode_text(torch.from_numpy(loaded.tokenizer(texts)))
        after = started.encoder.eval().encode_text(torch.from_numpy(started.tokenizer(texts)))
        marked = started.encoder.encode_text(
            torch.from_numpy(started.tokenizer(["<title> red mug", "<type> red mug"]))
        )
    assert torch.allclose(before, after, atol=1e-6)
    assert not torch.allclose(marked[0], marked[1], atol=1e-3)
    again = starting_encoder(started, 20, 9, 1.0, False)
    pairs = zip(started.encoder.state_dict().items(), again.encoder.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for (_, a), b in pairs), "an encoder that has markers keeps its weights"


def test_an_untrained_start_keeps_nothing_but_the_shape(shop: Path) -> None:
    loaded = load_encoder(shop / "models/encoder")
    started = starting_encoder(loaded, 20, 1, 1.0, True)
    old, new = loaded.encoder.clip.text_projection, started.encoder.clip.text_projection
    assert old.shape == new.shape and not torch.allclose(old, new)


def test_a_shrunk_start_lies_between_the_old_and_a_new_text_tower(shop: Path) -> None:
    loaded = load_encoder(shop / "models/encoder")
    old, half, new = (
        starting_encoder(loaded, 20, 1, keep, untrained).encoder.state_dict()
        for keep, untrained in ((1.0, False), (0.5, False), (1.0, True))
    )
    name = "clip.text_projection"
    assert torch.allclose(half[name], (old[name] + new[name]) / 2, atol=1e-6)
    seen = [key for key in old if key.startswith("clip.visual.")]
    assert seen and all(torch.equal(half[key], old[key]) for key in seen), "pictures are seen as before"
