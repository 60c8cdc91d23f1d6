"""The default towers, from the packages that bring them: what they say is what timm and transformers say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image, ImageDraw

from components.encoder.model.params import EFFICIENTNET_LITE0, MINILM, EncoderParams
from components.encoder.model.towers.files import LoadedEncoder, load_encoder, save_encoder
from components.encoder.model.towers.start import starting_model
from components.encoder.model.towers.weights import read_weights, weights_path

TEXTS = ["red striped mug", "A lamp.", "women's running shoes, size 38, with a reflective heel"]


@pytest.fixture(scope="module")
def model() -> LoadedEncoder:
    return starting_model(EncoderParams())


def drawn(side: int) -> torch.Tensor:
    """Three pictures ``[3, 3, side, side]``."""
    found = []
    for colour, shape in (("red", "ellipse"), ("navy", "rectangle"), ("green", "line")):
        image = Image.new("RGB", (side, side), "white")
        getattr(ImageDraw.Draw(image), shape)((side // 4, side // 4, 3 * side // 4, 3 * side // 4), colour)
        found.append(np.asarray(image))
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2)


def test_a_saved_encoder_says_where_its_weights_come_from(model: LoadedEncoder, tmp_path: Path) -> None:
    save_encoder(model.encoder, model.tokenizer, tmp_path / "model")
    origins = load_encoder(tmp_path / "model").encoder.origins
    assert origins == model.encoder.origins
    for part, weights, seen in (
        ("image tower", EFFICIENTNET_LITE0, "ImageNet-1k"),
        ("text tower", MINILM, "English texts"),
    ):
        facts = origins[part]
        assert facts["sha256"] == weights.sha256 and weights.package in facts["source"]
        assert facts["licence"] == "Apache-2.0" and seen in facts["trained on"]


def test_texts_are_pooled_as_transformers_pools_them(model: LoadedEncoder) -> None:
    from transformers import AutoModel, AutoTokenizer

    folder: Path = weights_path(MINILM)
    theirs, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    read = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        states, mask = theirs(**read).last_hidden_state, read["attention_mask"][..., None]
        ours = model.encoder.text_features(torch.from_numpy(model.tokenizer(TEXTS)))
    torch.testing.assert_close(ours, (states * mask).sum(1) / mask.sum(1), atol=1e-4, rtol=1e-3)


def test_pictures_are_seen_as_timm_sees_them(model: LoadedEncoder) -> None:
    """The file holds timm's tensors under other names, in its order."""
    theirs = timm.create_model("tf_efficientnet_lite0").eval()
    state = read_weights(EFFICIENTNET_LITE0)
    theirs.load_state_dict(dict(zip(theirs.state_dict(), state.values(), strict=True)))
    pixels = drawn(model.encoder.image_px)
    with torch.inference_mode():
        seen = model.encoder.normalise(pixels)
        maps, pooled = (
            theirs.forward_intermediates(seen)[1],
            theirs.forward_head(theirs.forward_features(seen), pre_logits=True),
        )
        ours = model.encoder.image_features(pixels)
    expected = torch.cat([*(m.mean(dim=(2, 3)) for m in maps), pooled], dim=1)
    assert expected.shape[1] == 1792
    torch.testing.assert_close(ours[:, :1792], expected, atol=1e-4, rtol=1e-3)
