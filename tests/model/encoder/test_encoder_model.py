"""The dual encoder: equal to open_clip where it should be, safe on disk, and the same bits in any company."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from components.encoder.model.errors import EncoderConfigurationError, ModelFileError
from components.encoder.model.features.captions import Captions, entailed
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.params import EncoderParams
from components.encoder.model.towers.dual_encoder import create_encoder
from components.encoder.model.towers.files import LoadedEncoder, load_encoder, save_encoder, vision_config
from components.encoder.model.towers.losses import info_nce, mean_length, no_negatives, topk_similarity
from components.encoder.model.towers.tokenizer import CaptionTokenizer, ClipTokenizer, Tokens, learn_tokenizer
from components.encoder.model.train.views import crop_grid

TEXTS = ["red square", "blue bar number 7", "white", "a green square beside a red bar"]
VIT = {"layers": 2, "width": 64, "head_width": 32, "patch_size": 12, "pool_type": "avg"}


@pytest.fixture
def tokenizer() -> CaptionTokenizer:
    return learn_tokenizer(TEXTS * 4, vocabulary_size=300, context_length=12)


def vit(params: EncoderParams) -> EncoderParams:
    return params.model_copy(update={"model": params.model.model_copy(update={"vision": VIT})})


def png(seed: int) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def pictures(count: int, side: int = 48) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(0, 256, (count, 3, side, side), dtype=np.uint8))


@pytest.mark.parametrize("tower", ["convolutional", "transformer"])
def test_vectors_are_those_of_open_clip(tiny: EncoderParams, tokenizer: CaptionTokenizer, tower: str) -> None:
    params = tiny if tower == "convolutional" else vit(tiny)
    encoder = create_encoder(params, tokenizer.vocabulary_size).eval()
    if encoder.patches is not None:
        encoder.patches.pooled_share.data.zero_()  # as with pretrained weights: the trunk's vector alone
    tokens = torch.from_numpy(tokenizer(TEXTS))
    with torch.inference_mode():
        ours = encoder.encode_text(tokens)
        theirs = encoder.clip.encode_text(tokens, normalize=True)
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
        images = pictures(3)
        theirs = encoder.clip.encode_image(encoder.normalise(images), normalize=True)
        torch.testing.assert_close(encoder.encode_image(images), theirs, atol=1e-5, rtol=1e-4)
        pooled, patches = encoder.encode_patches(images)
    torch.testing.assert_close(pooled, theirs, atol=1e-5, rtol=1e-4)
    assert patches.shape[0] == 3 and patches.shape[-1] == 32
    torch.testing.assert_close(patches.norm(dim=-1).mean(dim=(1, 2)), torch.ones(3))


def test_a_changed_corner_moves_its_own_patch_more_than_the_opposite_one(
    tiny: EncoderParams, tokenizer: CaptionTokenizer
) -> None:
    """A change in one corner changes that corner's patch more than the opposite one's."""
    encoder = create_encoder(vit(tiny), tokenizer.vocabulary_size).eval()
    before = pictures(1)
    after = before.clone()
    after[:, :, :12, :12] = 255
    with torch.inference_mode():
        moved = (encoder.encode_patches(before)[1] - encoder.encode_patches(after)[1]).norm(dim=-1)[0]
    assert moved[0, 0] > 2 * moved[-1, -1]


def test_a_picture_vector_carries_what_its_patches_say(
    tiny: EncoderParams, tokenizer: CaptionTokenizer
) -> None:
    encoder = create_encoder(tiny, tokenizer.vocabulary_size).eval()
    assert encoder.patches is not None
    with torch.inference_mode():
        whole, patches = encoder.encode_patches(pictures(3))
        torch.testing.assert_close(encoder.encode_image(pictures(3)), whole)
        encoder.patches.pooled_share.data.fill_(1e6)
        mostly = encoder.encode_image(pictures(3))
    mean = torch.nn.functional.normalize(patches.mean(dim=(1, 2)), dim=-1)
    torch.testing.assert_close(mostly, mean, atol=1e-4, rtol=1e-3)
    assert not torch.allclose(whole, mean, atol=1e-2)


def test_texts_of_no_picture_are_negatives_of_pictures_alone() -> None:
    """The oracle is a cross entropy of PyTorch in each direction."""
    generator = torch.Generator().manual_seed(0)
    square, more = torch.randn(5, 5, generator=generator), torch.randn(5, 3, generator=generator)
    excluded = torch.zeros(5, 8, dtype=torch.bool)
    excluded[1, 6] = True
    target = torch.arange(5)
    seen = torch.cat([square, more], dim=1)
    seen[1, 6] = float("-inf")
    expected = (
        torch.nn.functional.cross_entropy(seen, target) + torch.nn.functional.cross_entropy(square.T, target)
    ) / 2
    ours = info_nce(torch.cat([square, more], dim=1), excluded, texts_only=3)
    torch.testing.assert_close(ours, expected)


def test_info_nce_equals_open_clips_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    images, texts = (
        torch.nn.functional.normalize(torch.randn(8, 16, generator=generator), dim=-1) for _ in "ab"
    )
    scale = torch.tensor(14.3)
    theirs = open_clip.loss.ClipLoss()(images, texts, scale)
    ours = info_nce(scale * images @ texts.T, torch.zeros(8, 8, dtype=torch.bool))
    torch.testing.assert_close(ours, theirs)


def test_excluded_pairs_do_not_count() -> None:
    logits = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    groups = torch.tensor([0, 0, 1, 2, 3, 4])
    excluded = no_negatives(groups, torch.zeros(6, 6, dtype=torch.bool))
    changed = logits.clone()
    changed[0, 1] = changed[1, 0] = 50.0
    torch.testing.assert_close(info_nce(logits, excluded), info_nce(changed, excluded))
    assert not torch.isclose(
        info_nce(logits, torch.zeros_like(excluded)), info_nce(changed, torch.zeros_like(excluded))
    )


@pytest.mark.parametrize("layers", [1, 3])
def test_packed_texts_are_encoded_and_taught_as_padded_ones(
    tiny: EncoderParams, tokenizer: CaptionTokenizer, layers: int
) -> None:
    text = tiny.model.text.model_copy(update={"layers": layers})
    params = tiny.model_copy(update={"model": tiny.model.model_copy(update={"text": text})})
    encoder = create_encoder(params, tokenizer.vocabulary_size)
    tokens = torch.from_numpy(tokenizer([*TEXTS, "", "a long text that is cut before its very end " * 3]))
    weight = torch.randn(len(tokens), encoder.embed_dim, generator=torch.Generator().manual_seed(0))
    found = []
    for encode in (encoder.encode_text, encoder.encode_packed_text):
        encoder.zero_grad()
        vectors = encode(tokens)
        (vectors * weight).sum().backward()
        found.append((vectors, {n: p.grad for n, p in encoder.named_parameters() if p.grad is not None}))
    (padded, slopes), (packed, packed_slopes) = found
    torch.testing.assert_close(packed, padded, atol=1e-5, rtol=1e-4)
    assert slopes.keys() == packed_slopes.keys()
    for name, slope in slopes.items():
        torch.testing.assert_close(packed_slopes[name], slope, atol=1e-4, rtol=1e-3)


def test_a_text_tower_of_another_kind_is_not_packed(tiny: EncoderParams, tokenizer: CaptionTokenizer) -> None:
    encoder = create_encoder(tiny, tokenizer.vocabulary_size).eval()
    encoder.clip.attn_mask = None  # texts that see their padding
    tokens = torch.from_numpy(tokenizer(TEXTS))
    with torch.inference_mode():
        assert torch.equal(encoder.encode_packed_text(tokens), encoder.encode_text(tokens))


def test_mean_length_and_its_gradient_equal_torchs_own() -> None:
    patches = torch.randn(3, 2, 4, 5, generator=torch.Generator().manual_seed(1), requires_grad=True)
    torch.testing.assert_close(mean_length(patches), patches.norm(dim=-1).mean(dim=(1, 2)))
    weight = torch.tensor([1.0, -2.0, 0.5])
    (ours,) = torch.autograd.grad((mean_length(patches) * weight).sum(), patches)
    (theirs,) = torch.autograd.grad((patches.norm(dim=-1).mean(dim=(1, 2)) * weight).sum(), patches)
    torch.testing.assert_close(ours, theirs)
    empty = torch.zeros(1, 2, 2, 3, requires_grad=True)
    (slope,) = torch.autograd.grad(mean_length(empty).sum(), empty)
    assert torch.equal(slope, torch.zeros_like(empty))


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


def test_topk_similarity_against_a_plain_loop() -> None:
    generator = torch.Generator().manual_seed(2)
    patches = torch.nn.functional.normalize(torch.randn(3, 2, 4, 5, generator=generator), dim=-1)
    texts = torch.nn.functional.normalize(torch.randn(6, 5, generator=generator), dim=-1)
    got = topk_similarity(patches, texts, 3)
    for i in range(3):
        for t in range(6):
            similar = sorted((float(p @ texts[t]) for p in patches[i].reshape(-1, 5)), reverse=True)
            assert float(got[i, t]) == pytest.approx(np.mean(similar[:3]), abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sets(st.integers(0, 6), max_size=4), min_size=2, max_size=6).flatmap(
        lambda known: st.tuples(
            st.just(known),
            st.lists(st.sets(st.integers(0, 6), max_size=3), min_size=len(known), max_size=len(known)),
        )
    )
)
def test_entailment_is_the_subset_relation(case: tuple[list[set[int]], list[set[int]]]) -> None:
    def padded(sets: list[set[int]]) -> np.ndarray:
        out = np.full((len(sets), 5), -1, dtype=np.int32)
        for row, values in zip(out, sets, strict=True):
            row[: len(values)] = sorted(values)
        return out

    known, stated = case
    expected = [[bool(s) and s <= k for s in stated] for k in known]
    assert entailed(padded(known), padded(stated)).tolist() == expected


def test_captions_of_a_product_state_what_the_product_is(
    tiny: EncoderParams, tokenizer: CaptionTokenizer
) -> None:
    rows = [
        {"product_id": f"p{i}", "title": f"thing {i}", "description": "", "product_type": "square",
         "attributes": [{"name": "colour", "value": colour}]}
        for i, colour in enumerate(["red", "red", "blue"])
    ]  # fmt: skip
    only = tiny.captions.model_copy(update={"title": 0.0, "title_attributes": 0.0, "product_type": 0.0})
    batch = Captions(rows, only, tokenizer, {"colour"}, swapped=True).draw(
        np.arange(3), np.random.default_rng(0)
    )
    # every caption is "<colour> square": true of the products of that colour, and of no other
    assert batch.entailed.tolist() == [[True, True, False], [True, True, False], [False, False, True]]
    # with the value changed it is true of the products of the other colour alone
    assert (batch.swapped_entailed == ~batch.entailed).all()
    assert np.array_equal(batch.swapped[0], batch.tokens[2]) and np.array_equal(
        batch.swapped[2], batch.tokens[0]
    )


def test_nothing_is_swapped_unless_asked_for(tiny: EncoderParams, tokenizer: CaptionTokenizer) -> None:
    rows = [
        {"product_id": f"p{i}", "title": "thing", "description": "", "product_type": "square",
         "attributes": [{"name": "colour", "value": colour}]}
        for i, colour in enumerate(["red", "green", "blue"])
    ]  # fmt: skip
    read: list[str] = []

    class Listening(CaptionTokenizer):
        def __call__(self, texts: Sequence[str]) -> Tokens:
            read.extend(texts)
            return super().__call__(texts)

    listening = Listening(tokenizer._tokenizer, tokenizer.context_length)
    only = tiny.captions.model_copy(update={"title": 0.0})
    draws = []
    for swapped in (False, True):
        read.clear()
        captions = Captions(rows, only, listening, {"colour"}, swapped=swapped)
        draws.append((captions.draw(np.arange(3), np.random.default_rng(0)), len(read)))
    (without, few), (with_swaps, many) = draws
    assert few < many and without.swapped.shape == (0, 12) and without.swapped_entailed.shape == (3, 0)
    assert len(with_swaps.swapped) and np.array_equal(without.tokens, with_swaps.tokens)
    assert np.array_equal(without.entailed, with_swaps.entailed)


def test_a_product_type_of_one_colour_has_no_changed_captions(
    tiny: EncoderParams, tokenizer: CaptionTokenizer
) -> None:
    rows = [
        {"product_id": f"p{i}", "title": "", "description": "", "product_type": kind,
         "attributes": [{"name": "colour", "value": "red"}]}
        for i, kind in enumerate(["square", "square", "circle"])
    ]  # fmt: skip
    captions = Captions(rows, tiny.captions, tokenizer, {"colour"}, swapped=True)
    batch = captions.draw(np.arange(3), np.random.default_rng(0))
    assert batch.swapped.shape[0] == 0 and batch.swapped_entailed.shape == (3, 0)


@given(st.lists(st.text(max_size=60), min_size=1, max_size=5))
@settings(max_examples=50, deadline=None)
def test_any_text_becomes_tokens_that_end(texts: list[str]) -> None:
    tokenizer = learn_tokenizer(TEXTS, vocabulary_size=300, context_length=12)
    tokens = tokenizer(texts)
    assert tokens.shape == (len(texts), 12)
    assert (tokens.max(axis=1) == tokenizer.end).all() and (tokens[:, 0] == tokenizer.start).all()


def test_the_same_captions_teach_the_same_tokens() -> None:
    texts = [f"{a}{b} {b}{c}" for a in "abcd" for b in "efgh" for c in "ijkl"]
    learned = {learn_tokenizer(texts, vocabulary_size=300, context_length=12).to_json() for _ in range(8)}
    assert len(learned) == 1


def test_a_saved_model_computes_the_same(
    tiny: EncoderParams, tokenizer: CaptionTokenizer, tmp_path: Path
) -> None:
    encoder = create_encoder(tiny, tokenizer.vocabulary_size).eval()
    save_encoder(encoder, tokenizer, vision_config(tiny.model), tmp_path / "model")
    loaded = load_encoder(tmp_path / "model")
    with torch.inference_mode():
        assert torch.equal(encoder.encode_image(pictures(2)), loaded.encoder.encode_image(pictures(2)))
    assert loaded.tokenizer(TEXTS).tolist() == tokenizer(TEXTS).tolist()
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]


def _break(folder: Path, how: str) -> None:
    weights = folder / "model.safetensors"
    if how == "cut":
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif how == "pickle":
        (folder / "optimizer.pt").write_bytes(b"\x80\x04")
    elif how == "missing":
        (folder / "tokenizer.json").unlink()
    elif how == "other sizes":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"embed_dim": 64}))
    elif how == "newer format":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"format": 99}))


@pytest.mark.parametrize("how", ["cut", "pickle", "missing", "other sizes", "newer format"])
def test_a_broken_model_folder_is_refused(
    tiny: EncoderParams, tokenizer: CaptionTokenizer, tmp_path: Path, how: str
) -> None:
    folder = tmp_path / "model"
    save_encoder(
        create_encoder(tiny, tokenizer.vocabulary_size), tokenizer, vision_config(tiny.model), folder
    )
    _break(folder, how)
    with pytest.raises(ModelFileError, match=str(folder)):
        load_encoder(folder)


def test_an_unknown_tower_is_a_configuration_error(tiny: EncoderParams) -> None:
    model = tiny.model.model_copy(update={"vision": {"timm_model_name": "resnet_of_my_dreams"}})
    with pytest.raises(EncoderConfigurationError, match="resnet_of_my_dreams"):
        create_encoder(tiny.model_copy(update={"model": model}), 300)


def of_pretrained(tiny: EncoderParams, architecture: str, weights: str) -> EncoderParams:
    """The block with a pretrained model, at 64 pixels."""
    model = tiny.model.model_dump() | {"pretrained": {"architecture": architecture, "weights": weights}}
    return EncoderParams.model_validate(tiny.model_dump() | {"image_px": 64, "model": model})


def test_pretrained_weights_come_from_a_local_file(tiny: EncoderParams, tmp_path: Path) -> None:
    """The path of the gpu profile, on a random checkpoint of a real architecture."""
    from safetensors.torch import save_file

    clip = open_clip.create_model("ViT-B-32-256", pretrained=None, force_image_size=64)
    save_file({k: v.contiguous() for k, v in clip.state_dict().items()}, tmp_path / "weights.safetensors")
    params = of_pretrained(tiny, "ViT-B-32-256", str(tmp_path / "weights.safetensors"))
    encoder = create_encoder(params, 0).eval()
    tokenizer = ClipTokenizer(77)
    save_encoder(encoder, tokenizer, vision_config(params.model), tmp_path / "model")
    loaded = load_encoder(tmp_path / "model")
    tokens = torch.from_numpy(tokenizer(TEXTS))
    with torch.inference_mode():
        expected = clip.eval().encode_text(tokens, normalize=True)
        torch.testing.assert_close(loaded.encoder.encode_text(tokens), expected, atol=1e-5, rtol=1e-4)


def small_clip(folder: Path, **changes: bool) -> open_clip.CLIP:
    """A folder of open_clip's with a shrunk ViT-B-32 and no weights; ``changes`` are of its configuration."""
    config = open_clip.get_model_config("ViT-B-32") | changes
    config["embed_dim"] = 32
    config["vision_cfg"] |= {"width": 32, "layers": 1, "head_width": 16, "image_size": 64}
    config["text_cfg"] |= {"width": 32, "layers": 1, "heads": 2}
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    return open_clip.model.CLIP(**config)


def test_the_activation_of_openais_weights_is_kept(tiny: EncoderParams, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    clip = small_clip(tmp_path / "clip", quick_gelu=True)
    for value in clip.parameters():
        value.data.normal_(std=0.5)  # so that activations leave the range where all are alike
    save_file(clip.state_dict(), tmp_path / "clip/open_clip_model.safetensors")
    params = of_pretrained(tiny, f"local-dir:{tmp_path / 'clip'}", "of the folder")
    encoder, tokenizer = create_encoder(params, 0).eval(), ClipTokenizer(77)
    save_encoder(encoder, tokenizer, vision_config(params.model), tmp_path / "model")
    loaded = load_encoder(tmp_path / "model").encoder
    tokens, shown = torch.from_numpy(tokenizer(TEXTS)), pictures(3, 64)
    with torch.inference_mode():
        assert torch.equal(loaded.encode_text(tokens), encoder.encode_text(tokens))
        assert torch.equal(loaded.encode_image(shown), encoder.encode_image(shown))


def test_a_pretrained_model_without_weights_or_with_another_text_tower_is_refused(
    tiny: EncoderParams, tmp_path: Path
) -> None:
    small_clip(tmp_path / "clip")
    for architecture, problem in (
        (f"local-dir:{tmp_path / 'clip'}", "does not load"),
        (f"local-dir:{tmp_path / 'nothing'}", "cannot be read"),
        ("ViT-H-14-CLIPA", "hf_tokenizer_name"),
        ("ViT-Z", "unknown"),
    ):
        with pytest.raises(EncoderConfigurationError, match=problem):
            create_encoder(of_pretrained(tiny, architecture, "of the folder"), 0)


def test_vectors_do_not_depend_on_their_neighbours(
    tiny: EncoderParams, tokenizer: CaptionTokenizer, tmp_path: Path
) -> None:
    encoder = create_encoder(tiny, tokenizer.vocabulary_size).eval()
    model = LoadedEncoder(encoder, tokenizer, {}, "weights", "preprocessing")
    batch = BatchEncoder(model, 8, "bf16")
    pixels = pictures(11).permute(0, 2, 3, 1).numpy()
    together = batch.pixel_vectors(pixels)
    alone = np.concatenate([batch.pixel_vectors(pixels[i : i + 1]) for i in range(11)])
    assert np.array_equal(together, alone)
    texts = [f"{t} {i}" for i in range(5) for t in TEXTS]
    fresh = np.concatenate([BatchEncoder(model, 8, "bf16").texts([t]) for t in texts])
    assert np.array_equal(batch.texts(texts), fresh)


def test_the_cache_changes_no_vector_and_every_key_part_counts(
    tiny: EncoderParams, tokenizer: CaptionTokenizer, tmp_path: Path
) -> None:
    encoder = create_encoder(tiny, tokenizer.vocabulary_size).eval()
    images = [png(i) for i in range(5)]

    def encode(
        cache: Path | None, weights: str = "w", preprocessing: str = "p", precision: str = "fp32"
    ) -> tuple:
        batch = BatchEncoder(
            LoadedEncoder(encoder, tokenizer, {}, weights, preprocessing), 4, precision, cache
        )
        vectors = np.concatenate(list(batch.images(images)))
        return vectors, batch.cache.hits

    plain, _ = encode(None)
    first, hits = encode(tmp_path / "known")
    assert hits == 0
    again, hits = encode(tmp_path / "known")
    assert hits == 5
    assert np.array_equal(plain, first) and np.array_equal(first, again)
    for change in ({"weights": "x"}, {"preprocessing": "x"}, {"precision": "bf16"}):
        assert encode(tmp_path / "known", **change)[1] == 0
