"""An encoder of two views: it starts as the encoder it came from, and says what it reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from components.encoder.model.errors import EncoderConfigurationError
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.towers.dual_encoder import Encoder
from components.encoder.model.towers.files import load_encoder, model_sha256, save_encoder
from components.encoder.model.towers.heads import ALONE, Head


def encoders(shop: Path) -> tuple[Encoder, Encoder]:
    """The shop's encoder, and the same with a second view."""
    one, two = (load_encoder(shop / "models/encoder").encoder for _ in range(2))
    two.add_views(2)
    return one, two


def features_of(encoder: Encoder, count: int) -> torch.Tensor:
    return torch.randn(count, encoder.view_width, generator=torch.Generator().manual_seed(1))


def trusting(encoder: Encoder) -> None:
    """Weights as a training may leave them."""
    assert encoder.heads is not None
    head = encoder.heads["image"]
    torch.nn.init.normal_(head.further.weight, generator=torch.Generator().manual_seed(2))
    torch.nn.init.constant_(head.trust.weight, 0.6)
    torch.nn.init.constant_(head.trust.bias, 0.3)


def test_a_new_view_changes_no_vector(shop: Path) -> None:
    one, two = encoders(shop)
    whole, crop = features_of(one, 10).split(5)
    both = torch.cat([whole, crop, torch.rand(5, 1)], dim=1)
    with torch.no_grad():
        assert torch.equal(two.image_vectors(both), one.image_vectors(whole))


def test_a_view_that_is_trusted_wholly_is_read_in_the_first_ones_place(shop: Path) -> None:
    one, two = (load_encoder(shop / "models/encoder").encoder for _ in range(2))
    two.add_views(2, trust=1.0)
    whole, crop = features_of(one, 10).split(5)
    with torch.no_grad():
        got = two.image_vectors(torch.cat([whole, crop, torch.rand(5, 1)], dim=1))
        assert torch.allclose(got, one.image_vectors(crop), atol=1e-5)


def test_the_second_view_is_read_as_a_plain_formula_says(shop: Path) -> None:
    _, two = encoders(shop)
    assert two.heads is not None
    head = two.heads["image"]
    trusting(two)
    head.fit(features_of(two, 50) * 3 + 1)
    whole, crop = features_of(two, 8).split(4)
    sure = torch.rand(4, 1)
    with torch.no_grad():
        first, second = head.layers[1], head.layers[4]
        seen = [(view - head.mean) * head.scale for view in (whole, crop)]
        trust = sure * head.trust.weight.item() + head.trust.bias.item()
        hidden = first(seen[0]) + trust * ((seen[1] - seen[0]) @ head.further.weight.T)
        expected = F.normalize(second(F.gelu(hidden)), dim=1)
        got = two.image_vectors(torch.cat([whole, crop, sure], dim=1))
    assert torch.allclose(got, expected, atol=1e-5)


def test_without_a_box_the_whole_picture_stands_for_both_views_and_is_said_to(shop: Path) -> None:
    loaded = load_encoder(shop / "models/encoder")
    loaded.encoder.add_views(2)
    trusting(loaded.encoder)
    batch = BatchEncoder(loaded, 4, "fp32")
    whole = features_of(loaded.encoder, 4).numpy()
    twice = np.concatenate([whole, whole, np.zeros((4, 1), np.float32)], axis=1)
    with pytest.warns(UserWarning, match="without a box the whole picture stands for both"):
        alone = batch.image_vectors(whole)
    assert np.array_equal(alone, batch.image_vectors(twice))
    plain = BatchEncoder(load_encoder(shop / "models/encoder"), 4, "fp32")
    assert np.array_equal(alone, plain.image_vectors(whole))  # what equals the whole picture adds nothing


def test_in_training_alone_a_second_view_is_at_times_read_in_the_first_ones_place() -> None:
    torch.manual_seed(3)
    head = Head(8, 16, 4, dropout=0.0, views=2).eval()
    whole, crop = torch.randn(2, 2000, 8)
    both = torch.cat([whole, crop, torch.rand(2000, 1)], dim=1)
    with torch.no_grad():
        as_whole, as_crop = head(whole), head(crop)
        assert torch.equal(head(both), as_whole)  # no trust, and no training
        trained = head.train()(both)
    swapped = torch.isclose(trained, as_crop, atol=1e-5).all(dim=1)
    kept = torch.isclose(trained, as_whole, atol=1e-5).all(dim=1)
    assert bool((swapped ^ kept).all())
    assert swapped.float().mean().item() == pytest.approx(ALONE, abs=0.05)


def test_features_of_another_width_are_refused(shop: Path) -> None:
    one, two = encoders(shop)
    width = one.view_width
    for encoder, wrong in ((one, 2 * width + 1), (two, 2 * width), (two, 3 * width + 2)):
        with pytest.raises(EncoderConfigurationError, match=f"{wrong} features; this encoder reads {width}"):
            encoder.image_vectors(torch.zeros(1, wrong))
    with pytest.raises(EncoderConfigurationError, match="once"):
        two.add_views(2)


def test_a_folder_of_two_views_comes_back_bit_equal(shop: Path, tmp_path: Path) -> None:
    loaded = load_encoder(shop / "models/encoder")
    two = loaded.encoder
    two.add_views(2)
    trusting(two)
    save_encoder(two, loaded.tokenizer, tmp_path / "two")
    again = load_encoder(tmp_path / "two")
    assert again.encoder.views == 2 and again.model_sha256 == model_sha256(tmp_path / "two")
    assert again.image_sha256 == loaded.image_sha256  # the features are those of the same tower
    both = torch.cat([features_of(two, 6), features_of(two, 6), torch.rand(6, 1)], dim=1)
    with torch.no_grad():
        assert torch.equal(again.encoder.image_vectors(both), two.eval().image_vectors(both))


def test_a_folder_from_before_views_is_an_encoder_of_one(shop: Path, tmp_path: Path) -> None:
    loaded = load_encoder(shop / "models/encoder")
    save_encoder(loaded.encoder, loaded.tokenizer, tmp_path / "old")
    config = tmp_path / "old/config.json"
    described = json.loads(config.read_text())
    assert described["architecture"]["heads"].pop("views") == 1
    config.write_text(json.dumps(described))
    (tmp_path / "old/checksums.json").unlink()  # they came later as well
    old = load_encoder(tmp_path / "old")
    assert old.encoder.views == 1 and old.model_sha256 == loaded.model_sha256 == model_sha256(
        tmp_path / "old"
    )
