"""The dual encoder: its maps and patches, safe on disk, and the same bits in any company."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from components.encoder.model.errors import ModelFileError
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.folded import folded
from components.encoder.model.params import EncoderParams
from components.encoder.model.towers.files import (
    FILES,
    LoadedEncoder,
    load_encoder,
    model_sha256,
    save_encoder,
)
from components.encoder.model.towers.start import starting_model
from components.encoder.model.train.views import crop_grid
from components.stage.files.model_files import write_checksums
from components.stage.resources.accelerator import computed_in, device
from tests.model.damaged_weights import DAMAGE

TEXTS = ["red square", "blue bar number 7", "white", "a green square beside a red bar"]


@pytest.fixture
def model(tiny: EncoderParams) -> LoadedEncoder:
    return starting_model(tiny)


def png(seed: int, size: tuple[int, int] = (60, 40)) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def pictures(count: int, side: int = 48) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(0, 256, (count, 3, side, side), dtype=np.uint8))


def test_maps_are_those_of_a_trunks_stages_the_finest_first(model: LoadedEncoder) -> None:
    with torch.inference_mode():
        maps = model.encoder.stage_maps(pictures(3))
    assert [m.shape[-1] for m in maps] == [24, 12, 6, 3, 2]


@pytest.mark.parametrize("views", [1, 2])
def test_cells_are_read_as_pictures_whose_first_features_are_theirs(tiny: EncoderParams, views: int) -> None:
    encoder = starting_model(tiny).encoder
    if views > 1:
        encoder.add_views(views, trust=0.7)
    with torch.inference_mode():
        features, cells = encoder.grid_features(pictures(3), 2)
        assert torch.equal(features, encoder.image_features(pictures(3)))
        whole, vectors = encoder.grid_vectors(features, cells)
        rows = features[:, None].repeat(1, 4, 1)
        rows[..., : cells.shape[-1]] = cells
        torch.testing.assert_close(vectors, encoder.image_vectors(rows), atol=1e-5, rtol=1e-4)
        assert torch.equal(whole, encoder.image_vectors(features))
        first = encoder.stage_maps(pictures(1))[0].shape[1]  # whose map of 24 px has four equal cells
        torch.testing.assert_close(cells.mean(dim=1)[:, :first], features[:, :first], atol=1e-5, rtol=1e-4)


def test_folding_batch_norms_changes_features_by_rounding_alone(tiny_block: dict[str, Any]) -> None:
    block = copy.deepcopy(tiny_block)
    block["model"]["image"]["architecture"] = "test_efficientnet"
    encoder = starting_model(EncoderParams.model_validate(block)).encoder
    generator = torch.Generator().manual_seed(1)
    for name, value in encoder.named_buffers():  # as after training: neither zero nor one
        if name.endswith(("running_mean", "running_var")):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    seeing = folded(encoder)
    assert seeing is not encoder and seeing.towers.text is encoder.towers.text
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in seeing.towers.visual.modules())
    with torch.inference_mode():
        before = encoder.image_features(pictures(3))
        torch.testing.assert_close(seeing.image_features(pictures(3)), before, atol=1e-4, rtol=1e-3)
        assert torch.equal(encoder.image_features(pictures(3)), before)


def test_a_folded_tower_is_made_outside_of_the_pass_that_first_needs_it(tiny_block: dict[str, Any]) -> None:
    block = copy.deepcopy(tiny_block)
    block["model"]["image"]["architecture"] = "test_efficientnet"
    batch = BatchEncoder(starting_model(EncoderParams.model_validate(block)), 4, "bf16")
    features, _ = batch.pixel_grid(pictures(3).permute(0, 2, 3, 1).numpy(), 2)
    assert batch._eyes is not batch.encoder
    assert not any(value.is_inference() for value in batch._eyes.state_dict().values())
    assert np.array_equal(features, batch.pixel_features(pictures(3).permute(0, 2, 3, 1).numpy()))


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="no such kernels here")
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_an_activation_that_a_convolution_computes_changes_no_feature(
    tiny_block: dict[str, Any], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache of features is as good with the kernels as without."""
    block = copy.deepcopy(tiny_block)
    block["model"]["image"]["architecture"] = "tf_efficientnet_lite0"  # "same" padding, ReLU6
    model = starting_model(EncoderParams.model_validate(block))
    together, apart = (BatchEncoder(model, 4, precision) for _ in range(2))
    scale = 1 if together.precision == "bf16" else 10  # another rounding grows from layer to layer
    for name, value in model.encoder.named_buffers():
        if name.endswith("running_var"):
            value.uniform_(0.01 * scale, 0.1 * scale)  # so that some sums lie above the activation's limit
    shown = pictures(3).permute(0, 2, 3, 1).numpy()
    features = together.pixel_features(shown)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    if together.precision == "bf16":
        assert np.array_equal(features, apart.pixel_features(shown))
    else:  # kernels for small maps round differently
        assert np.allclose(features, apart.pixel_features(shown), rtol=0.01, atol=0.01)
    parts = [{type(m) for m in b._eyes.towers.visual.modules()} for b in (together, apart)]
    assert parts[0] != parts[1]  # else both had the same kernels


def test_a_changed_corner_moves_its_own_cell_more_than_the_opposite_one(tiny: EncoderParams) -> None:
    encoder = starting_model(tiny.model_copy(update={"image_px": 128})).encoder
    before = pictures(1, 128)
    after = before.clone()
    after[:, :, :16, :16] = 255
    with torch.inference_mode():
        cells = [encoder.grid_vectors(*encoder.grid_features(x, 8))[1] for x in (before, after)]
    moved = (cells[0] - cells[1]).norm(dim=-1)[0]
    assert moved[0] > 2 * moved[-1]


def test_views_lie_where_affine_grid_puts_them() -> None:
    """The oracle is PyTorch's own grid of a scaling and a shift."""
    rng = np.random.default_rng(0)
    width, height, x, y = (rng.uniform(-0.9, 0.9, 4) for _ in range(4))
    theta = torch.zeros(4, 2, 3)
    for row, column, value in ((0, 0, width), (1, 1, height), (0, 2, x), (1, 2, y)):
        theta[:, row, column] = torch.from_numpy(value).float()
    theirs = torch.nn.functional.affine_grid(theta, [4, 3, 24, 24], align_corners=False)
    ours = torch.from_numpy(crop_grid(width, height, x, y, 24))
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_a_saved_model_computes_the_same(model: LoadedEncoder, tmp_path: Path) -> None:
    save_encoder(model.encoder, model.tokenizer, tmp_path / "model")
    loaded = load_encoder(tmp_path / "model")
    tokens = torch.from_numpy(model.tokenizer(TEXTS))
    with torch.inference_mode():
        for encode, given in (("encode_image", pictures(2)), ("encode_text", tokens)):
            assert torch.equal(getattr(model.encoder, encode)(given), getattr(loaded.encoder, encode)(given))
    assert loaded.tokenizer(TEXTS).tolist() == model.tokenizer(TEXTS).tolist()
    assert {p.name for p in (tmp_path / "model").iterdir()} == {*FILES, "checksums.json"}
    for name in ("image", "text", "model", "preprocessing"):
        assert getattr(loaded, f"{name}_sha256") == getattr(model, f"{name}_sha256")
    assert model_sha256(tmp_path / "model") == model.model_sha256


def change_config(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))
    write_checksums(folder)  # whoever changes a model on purpose changes them, too


SPOILED: dict[str, Callable[[Path], object]] = {
    "cut": lambda f: (f / "image.safetensors").write_bytes((f / "image.safetensors").read_bytes()[:-1000]),
    "pickle": lambda f: (f / "optimizer.pt").write_bytes(b"\x80\x04"),
    "missing": lambda f: (f / "tokenizer.json").unlink(),
    "cut tokenizer": lambda f: (f / "tokenizer.json").write_text('{"kind": "fast"'),
    "unknown tokenizer": lambda f: (f / "tokenizer.json").write_text('{"kind": "slow"}'),
    "other sizes": lambda f: change_config(f, lambda c: c["architecture"]["heads"].update(embed_dim=64)),
    "newer format": lambda f: change_config(f, lambda c: c.update(format=99)),
    "huge pictures": lambda f: change_config(f, lambda c: c["preprocessing"].update(image_px=10**9)),
    "deep": lambda f: (f / "config.json").write_text("[" * 100_000),
    "no format": lambda f: change_config(f, lambda c: c.pop("format")),
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_broken_model_folder_is_refused(model: LoadedEncoder, tmp_path: Path, how: str) -> None:
    folder = tmp_path / "model"
    save_encoder(model.encoder, model.tokenizer, folder)
    SPOILED[how](folder)
    with pytest.raises(ModelFileError, match=str(folder)):
        load_encoder(folder)


@pytest.mark.parametrize("part", ["image", "text", "heads"])
@pytest.mark.parametrize("how", DAMAGE)
def test_weights_that_are_not_those_that_were_saved_are_refused(
    model: LoadedEncoder, tmp_path: Path, how: str, part: str
) -> None:
    save_encoder(model.encoder, model.tokenizer, tmp_path / "model")
    damage, told = DAMAGE[how]
    damage(tmp_path / f"model/{part}.safetensors")
    with pytest.raises(ModelFileError, match=told):
        load_encoder(tmp_path / "model")


def test_a_folder_of_an_earlier_version_has_no_checksums_and_loads(
    model: LoadedEncoder, tmp_path: Path
) -> None:
    save_encoder(model.encoder, model.tokenizer, tmp_path / "model")
    (tmp_path / "model/checksums.json").unlink()
    assert load_encoder(tmp_path / "model").model_sha256 == model.model_sha256


@pytest.mark.parametrize(
    ("block", "hostile"),
    [
        ("vision", {"timm_model_pretrained": True}),
        ("vision", {"timm_model_name": "hf-hub:somebody/model"}),
        ("vision", {"timm_model_name": "local-dir:/tmp/model"}),
        ("text", {"hf_model_name": "somebody/model"}),
        ("hugging_face", {"auto_map": {"AutoModel": "code.Model"}}),
    ],
)
def test_a_folder_that_names_another_model_or_code_is_refused(
    model: LoadedEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: str, hostile: dict[str, Any]
) -> None:
    folder = tmp_path / "model"
    save_encoder(model.encoder, model.tokenizer, folder)
    change_config(folder, lambda c: c["architecture"][block].update(hostile))

    def built(*_: object, **__: object) -> None:
        raise AssertionError("open_clip was asked to build it")

    monkeypatch.setattr("components.encoder.model.towers.architecture.CustomTextCLIP", built)
    with pytest.raises(ModelFileError, match=r"nothing is fetched to build a model|never run"):
        load_encoder(folder)


def test_vectors_do_not_depend_on_their_neighbours(model: LoadedEncoder) -> None:
    batch = BatchEncoder(model, 8, "bf16")
    pixels = pictures(11).permute(0, 2, 3, 1).numpy()
    together = batch.pixel_vectors(pixels)
    alone = np.concatenate([batch.pixel_vectors(pixels[i : i + 1]) for i in range(11)])
    assert np.array_equal(together, alone)
    texts = [f"{t} {i}" for i in range(5) for t in TEXTS]
    fresh = np.concatenate([BatchEncoder(model, 8, "bf16").texts([t]) for t in texts])
    assert np.array_equal(batch.texts(texts), fresh)


def test_the_cache_changes_no_vector_and_every_key_part_counts(model: LoadedEncoder, tmp_path: Path) -> None:
    images = [png(i) for i in range(5)]

    def encode(cache: Path | None, precision: str = "fp32", **changes: str) -> tuple[np.ndarray, int]:
        batch = BatchEncoder(replace(model, **changes), 4, precision, cache)
        vectors = np.concatenate(list(batch.images(images)))
        return vectors, batch.cache.hits

    plain, _ = encode(None)
    first, hits = encode(tmp_path / "known")
    assert hits == 0
    again, hits = encode(tmp_path / "known")
    assert hits == 5
    assert np.array_equal(plain, first) and np.array_equal(first, again)
    assert encode(tmp_path / "known", image_sha256="x")[1] == 0
    same = computed_in("bf16", device()) == "fp32"  # where a processor has no bfloat16
    assert encode(tmp_path / "known", precision="bf16")[1] == (5 if same else 0)
    assert (
        encode(tmp_path / "known", text_sha256="x", model_sha256="x")[1] == 5
    )  # decide no picture's features


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (3000, 60)])
def test_pictures_of_any_shape_have_vectors(model: LoadedEncoder, size: tuple[int, int]) -> None:
    (vector,) = np.concatenate(list(BatchEncoder(model, 4, "bf16").images([png(0, size)])))
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-3)


def test_a_text_without_words_has_a_vector(model: LoadedEncoder) -> None:
    assert np.isfinite(BatchEncoder(model, 4, "fp32").texts(["", "   ", "\u4e2d\u6587", "x" * 5000])).all()
