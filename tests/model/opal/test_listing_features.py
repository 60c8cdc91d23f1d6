"""Tokens of all features and of heads: by row as by pixels, and held out where they are learned from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from components.catalog.format.schema import read_schema
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.picture_features import FeatureCache
from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.features.rows import read_rows
from components.encoder.model.towers.files import load_encoder
from components.opal.model.language.feature_tokens import FeatureTokens
from components.opal.model.language.files import load_listing_model, read_note
from components.opal.model.language.listing_model import as_input
from components.opal.model.language.pictures import TowerPictures, catalogue_pictures, catalogue_pixels
from components.opal.model.language.value_heads import FOLDS, StatedValues, fit_heads, fold_of
from components.opal.model.listing_text import Listing
from components.opal.model.params import ListingParams, SftParams
from components.opal.model.sft.batches import sft_collator, sft_dataset
from components.opal.model.sft.samples import read_lessons
from components.opal.model.sft.starting_model import starting_model
from components.opal.model.sft.value_weights import attribute_weights, token_weights
from components.opal.model.writing.conversation import Conversation
from components.opal.model.writing.generate import Decoding, ListingGenerator
from components.opal.model.writing.head_margins import HeadMargins
from components.stage.paths import Paths
from tests.model.opal.listing_shop import blocks, paths_of, run_stage, write_workspace

VISION = {
    "encoder_vector": True,
    "grid": 2,
    "whitening_pictures": 32,
    "feature_tokens": 2,
    "head_tokens": 3,
    "crop": False,
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a model that has both kinds of tokens."""
    root = tmp_path_factory.mktemp("features")
    write_workspace(root)
    run_stage("opal.model.sft", paths_of(root), variant="refined", listing=listing().model_dump())
    return root


def listing(**vision: Any) -> ListingParams:
    return ListingParams.model_validate(blocks()["listing"] | {"vision": VISION | vision})


def started(root: Path, variant: Any = "refined", **vision: Any) -> tuple[Any, Any, Any]:
    """A model before its first step, the pictures it learns from, and its lessons."""
    paths, params = paths_of(root), listing(**vision)
    lessons = read_lessons(variant, params, paths.catalogue, paths.refined)
    order = lessons.order(SftParams.model_validate(blocks()["sft"]))
    return *starting_model(params, lessons, order, paths), lessons


def test_heads_say_of_a_fold_what_a_fit_without_it_says() -> None:
    random = torch.Generator().manual_seed(1)
    x, y = torch.randn(60, 90, generator=random), torch.rand(60, 3, generator=random).round()
    groups = [f"g{i // 3}" for i in range(60)]
    fitted = fit_heads(x, y, groups)
    folds = np.array([fold_of(group) for group in groups])
    assert len(set(folds)) == FOLDS
    for fold in range(FOLDS):
        inside = torch.from_numpy(folds == fold)
        expected = _ridge(x[~inside], y[~inside], fitted.decay, x[inside])
        assert torch.allclose(fitted.held_out[inside], expected, atol=1e-4)


def _ridge(x: torch.Tensor, y: torch.Tensor, decay: float, asked: torch.Tensor) -> torch.Tensor:
    """Ridge regression with a mean that is not penalised, by the normal equations."""
    centred, mean = x - x.mean(dim=0), y.mean(dim=0)
    moment = centred.T @ (y - mean)
    weight = torch.linalg.solve(centred.T @ centred + decay * torch.eye(x.shape[1]), moment)
    return (asked - x.mean(dim=0)) @ weight + mean


def test_words_of_rare_attributes_count_more() -> None:
    answers = ['{"title":"Jug","attributes":{"spout":"long","brand":"Ü"}}']
    answers += ['{"title":"Jug","attributes":{"brand":"long"}}', "not a listing"] * 3
    weights = attribute_weights(answers, rarity=0.5, least=0.01)
    assert weights == {"spout": 2.0, "brand": 1.0}
    assert attribute_weights(answers, rarity=0.5, least=0.5)["spout"] == pytest.approx(2**0.5)
    given = token_weights(answers[0], [(i, i + 1) for i in range(len(answers[0]))], weights)
    assert "".join(c for c, w in zip(answers[0], given, strict=True) if w == 2.0) == '"long"'
    across = answers[0].index("long")  # a token that holds a part of the value and what is before it
    assert token_weights(answers[0], [(0, across + 1), (across + 8, across + 9)], weights) == [2.0, 1.0]


def test_the_loss_counts_each_token_by_its_weight(shop: Path) -> None:
    model, pictures, lessons = started(shop)
    data = sft_dataset(lessons.whole[:4], Conversation(model))
    rows = [data[i] for i in range(4)]
    plain = sft_collator(model, pictures.take, data)(rows)
    weighed = sft_collator(model, pictures.take, data, rarity=0.5)(rows)
    weights = weighed.pop("loss_weights")
    assert all(torch.equal(weighed[name], plain[name]) for name in plain)
    assert (weights[plain["labels"] == -100] == 0).all() and (weights[plain["labels"] != -100] >= 1).all()


def test_learned_tokens_stand_on_whitened_features() -> None:
    random = torch.Generator().manual_seed(1)
    features = torch.randn(50, 20, generator=random) @ torch.randn(20, 20, generator=random) + 3
    tokens = FeatureTokens(20, 8, learned=2, dropout=0.5, told=0, values=0).eval()
    tokens.standardise(tokens.packed(features))
    seen = tokens.standard(features) @ tokens.axes
    assert torch.allclose(seen.T @ seen / 50, torch.eye(8), atol=1e-4)
    assert tokens(tokens.packed(features)).shape == (50, 2, 8)


def test_values_that_few_products_state_have_no_head() -> None:
    facts = [[("colour", "red"), ("colour", "red")]] * 8 + [[("colour", "teal")]] * 7 + [[("", "bar")]] * 9
    values = StatedValues(np.arange(24), [f"g{i}" for i in range(24)], facts)
    assert values.columns(9) == [("", "bar"), ("colour", "red")]
    assert values.columns(1) == [("", "bar")]
    assert StatedValues(np.arange(24), ["g"] * 24, facts).columns(9) == []  # nothing could be held out
    assert values.targets([("colour", "red")])[:, 0].tolist() == [1.0] * 8 + [0.0] * 16


def test_tokens_by_row_are_those_of_the_pixels_and_of_the_saved_model(shop: Path) -> None:
    paths, rows = paths_of(shop), np.array([4, 3, 4, 8, 59])  # not of the train split
    tower = load_listing_model(paths.listing / "sft_refined").model.model.vision_tower
    pixels = PixelCache(paths.catalogue, tower.config.image_px, paths.cache, 1)
    seen = tower(as_input(pixels.take(rows))).last_hidden_state
    by_row = catalogue_pictures(tower, pixels, paths)
    assert isinstance(by_row, TowerPictures)
    assert seen.shape[1] == 5 + 2 + 3 == tower.config.tokens
    assert torch.equal(tower(as_input(by_row.take(rows))).last_hidden_state, seen)
    again = load_listing_model(paths.listing / "sft_refined").model.model.vision_tower
    assert torch.equal(again(as_input(pixels.take(rows))).last_hidden_state, seen)


def test_without_a_grid_a_row_and_its_pixels_have_the_same_tokens_too(shop: Path) -> None:
    model, pictures, _ = started(shop, grid=0)
    tower, paths, rows = model.model.model.vision_tower, paths_of(shop), np.array([4, 3, 59])
    pixels = PixelCache(paths.catalogue, tower.config.image_px, paths.cache, 1)
    seen = tower(as_input(pixels.take(rows))).last_hidden_state
    assert seen.shape[1] == 1 + 2 + 3 == model.model.config.image_seq_length
    assert torch.equal(tower(as_input(pictures.take(rows))).last_hidden_state, seen)
    with torch.autocast("cpu", torch.bfloat16):  # as a photo is described
        halved = tower(as_input(pixels.take(rows))).last_hidden_state
        assert torch.equal(tower(as_input(pictures.take(rows))).last_hidden_state, halved)
    free, shown, _ = started(shop, grid=0, frozen=False)
    tower = free.model.model.vision_tower
    assert tower(as_input(shown.take(rows))).last_hidden_state.shape[1] == 1 + 2


def test_the_encoders_vector_can_be_left_out_but_something_is_always_shown(shop: Path) -> None:
    rows = np.array([4, 3])
    for options, tokens in (({"head_tokens": 3}, 3), ({"head_tokens": 0}, 1)):
        model, pictures, _ = started(shop, grid=0, encoder_vector=False, feature_tokens=0, **options)
        shown = model.model.model.vision_tower(as_input(pictures.take(rows))).last_hidden_state
        assert shown.shape[1] == tokens == model.model.config.image_seq_length


def test_the_encoders_vectors_are_dropped_in_training_alone(shop: Path) -> None:
    model, pictures, _ = started(shop, encoder_dropout=0.5)
    tower, shown = model.model.model.vision_tower, as_input(pictures.take(np.array([4, 3])))
    plain = tower.eval()(shown).last_hidden_state
    assert torch.equal(tower(shown).last_hidden_state, plain)
    dropped = tower.train()(shown).last_hidden_state
    assert 0.3 < float((dropped[:, :5] == 0).float().mean()) < 0.7
    assert not tower.encoder.training


def test_tokens_of_features_are_learned_and_heads_are_not(shop: Path) -> None:
    before, _, _ = started(shop)
    first = before.model.model.vision_tower.features.state_dict()
    after = load_listing_model(paths_of(shop).listing / "sft_refined").model.model.vision_tower.features
    changed = {name for name, value in after.state_dict().items() if not torch.equal(value, first[name])}
    assert changed == {f"{part}.{name}" for part in ("learned", "told") for name in ("weight", "bias")}


def test_a_row_is_learned_from_by_heads_that_never_saw_its_group(shop: Path) -> None:
    model, pictures, lessons = started(shop)
    features = model.model.model.vision_tower.features
    rows, groups, _ = lessons.values
    wide = torch.from_numpy(_features(paths_of(shop), rows))
    x, y = features.standard(wide), lessons.values.targets(lessons.values.columns(512))
    said = _scores(pictures, features, rows)
    decay = fit_heads(x, y, groups).decay
    for group in ("g0", "g1", "g10"):
        inside = torch.tensor([fold_of(g) == fold_of(group) for g in groups])
        at = groups.index(group)
        alone = _ridge(x[~inside], y[~inside], decay, x[at : at + 1])
        assert np.allclose(said[at], alone[0].numpy(), atol=5e-3)
        assert not np.allclose(said[at], features.scores(wide[at : at + 1])[0].numpy(), atol=5e-3)


def test_a_saved_model_knows_the_folds_too(shop: Path) -> None:
    _, first, lessons = started(shop)
    paths = paths_of(shop)
    tower = load_listing_model(paths.listing / "sft_refined").model.model.vision_tower
    again = catalogue_pictures(tower, catalogue_pixels(paths, 32, crop=False), paths)
    rows = lessons.values.positions
    assert np.array_equal(_scores(again, tower.features, rows), _scores(first, tower.features, rows))
    new = np.array([3, 4])  # of the validation and the test split: the tower's own heads read them
    assert again.take(new).shape[1] < again.take(rows).shape[1]
    mixed = _scores(again, tower.features, np.array([3, 0, 4]))[[0, 2]]
    own = tower.features.scores(torch.from_numpy(_features(paths, new))).detach().numpy()
    assert np.allclose(mixed, own, atol=2e-3)


def test_heads_say_how_far_a_written_value_leads_the_others(shop: Path) -> None:
    paths, rows = paths_of(shop), np.array([3, 4, 8, 59])
    folder, schema = paths.listing / "sft_refined", read_schema(paths.catalogue / "schema.json")
    model, note = load_listing_model(folder), read_note(folder)
    tower = model.model.model.vision_tower
    heads = HeadMargins.of(model.model)
    assert heads is not None
    scores = heads.look(
        as_input(catalogue_pictures(tower, catalogue_pixels(paths, 32, crop=False), paths).take(rows))
    )[1]
    assert np.allclose(scores, tower.features.scores(torch.from_numpy(_features(paths, rows))), atol=2e-3)
    place = {tuple(fact): column for column, fact in enumerate(tower.config.told)}
    colours = {value: scores[0][column] for (name, value), column in place.items() if name == "colour"}
    category = schema.categories["shapes"]
    best, second = sorted(colours, key=lambda value: -colours[value])[:2]
    ahead, there = 5 * (colours[best] - colours[second]), 5 * (sum(colours.values()) - 0.5)
    for value in colours:
        listing = Listing("", {"colour": value, "size_cm": "4", "brand": "Acme"}, "bar")
        found = heads.leads(listing, category, scores[0])
        assert set(found) == {"colour", ""}
        lead = found["colour"]
        behind = 5 * (colours[value] - colours[best])
        assert lead[:2] == pytest.approx((ahead if value == best else behind, there), abs=1e-5)
        other = () if value == best else (best, pytest.approx(ahead, abs=1e-5), len(colours))
        assert lead[2:] == (other or ("", 0.0, 0))
    kinds = 5 * (scores[0][place["", "bar"]] - scores[0][place["", "square"]])
    assert heads.leads(Listing("", {}, "bar"), category, scores[0])[""].lead == pytest.approx(kinds, abs=1e-5)
    assert "colour" not in heads.leads(Listing("", {"colour": "mauve"}), category, scores[0])
    decoding = Decoding(16, note["max_new_tokens"], "fp32")
    generator = ListingGenerator(model, note, schema, decoding)
    pixels = PixelCache(paths.catalogue, tower.config.image_px, paths.cache, 1)
    shown = (catalogue_pictures(tower, pixels, paths).take(rows), pixels.take(rows))
    by_row, by_pixels = (generator(pictures, ["shapes"] * 4, constrained=True) for pictures in shown)
    assert [(g.text, g.seen) for g in by_row] == [(g.text, g.seen) for g in by_pixels]
    for one, row in zip(by_row, scores, strict=True):
        assert one.listing is not None and one.seen == heads.leads(one.listing, category, row)


def _features(paths: Paths, rows: Any) -> Any:
    loaded = load_encoder(paths.encoder)
    pixels = PixelCache(paths.catalogue, loaded.encoder.image_px, paths.cache, 1)
    return FeatureCache(pixels, BatchEncoder(loaded, 64, "fp32"), paths.cache).take(rows)


def _scores(pictures: Any, features: Any, rows: Any) -> Any:
    """What heads say of rows, as it travels behind tokens and features."""
    seen = pictures.take(rows)
    behind = seen[:, 5 + features.rows(features.inputs) :]
    return behind.reshape(len(rows), -1)[:, : features.values]


def test_each_variants_heads_learn_from_its_own_listings(shop: Path) -> None:
    paths = paths_of(shop)
    rows, schema = read_rows(paths.catalogue), read_schema(paths.catalogue / "schema.json")
    assert schema.categories["shapes"].attributes["colour"].values
    stated = {v: started(shop, v)[2].values for v in ("raw", "refined")}
    wrong = [i for i in stated["raw"].positions if i % 7 == 0 and i % 4]  # sellers say red there
    for variant, expected in (("raw", {"red"}), ("refined", {"blue", "green", "white"})):
        at = {
            int(p): facts for p, facts in zip(stated[variant].positions, stated[variant].facts, strict=True)
        }
        assert {value for i in wrong for name, value in at[i] if name == "colour"} <= expected
        assert all(("", rows[i]["product_type"]) in at[i] for i in wrong)
    weights = [started(shop, v)[0].model.model.vision_tower.features.head_weight for v in ("raw", "refined")]
    assert not torch.equal(*weights)


@pytest.mark.parametrize("variant", ["raw", "refined"])
def test_a_tower_without_such_tokens_is_what_it_was(shop: Path, variant: str) -> None:
    model, pictures, _ = started(shop, variant, feature_tokens=0, head_tokens=0)
    tower = model.model.model.vision_tower
    assert tower.features is None and tower.config.features is None
    assert not any("features" in name for name in model.model.state_dict())
    assert pictures.take(np.array([0, 1])).shape == (2, 5, tower.config.hidden_size)
    assert model.model.config.image_seq_length == 5


def test_a_tower_that_may_change_has_no_heads(shop: Path) -> None:
    model, pictures, _ = started(shop, frozen=False)
    assert isinstance(pictures, PixelCache)
    tower = model.model.model.vision_tower
    assert tower.config.tokens == 5 + 2 and tower.features.told is None
    assert tower(as_input(pictures.take(np.array([0, 1])))).last_hidden_state.shape[1] == 7
