"""The same code on tiny random checkpoints of other architectures: from a catalogue to listings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from components.catalog.format.schema import listing_problems, read_schema
from components.encoder.model.features.pixels import PixelCache
from components.opal.model.errors import ListingConfigurationError
from components.opal.model.language.files import load_listing_model, read_note, save_listing_model
from components.opal.model.language.listing_model import ListingModel
from components.opal.model.params import ListingParams, LoraParams
from components.opal.model.sft.samples import read_lessons
from components.opal.model.sft.starting_model import note_of, starting_model
from components.opal.model.train import tuned_model
from components.opal.model.train.trainer_setup import lora_config
from components.opal.model.writing.conversation import Conversation
from components.opal.model.writing.generate import Decoding, ListingGenerator
from components.stage.paths import Paths
from tests.model.opal.listing_shop import blocks, paths_of, run_stage, write_workspace
from tests.model.opal.tiny_backbones import FAMILIES, SIDE

LORA = {"rank": 2, "alpha": 64, "dropout": 0.0}
REFINE = {"support": None, "words": {"most_words": 1000, "min_count": 3, "typo_ratio": 8.0}}
QUESTION, ANSWER = "List this shapes item.", '{"type":"bar","attributes":{"colour":"red"},"title":"red bar"}'


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """A catalogue, refined by the stage; tests must not write into it."""
    root = tmp_path_factory.mktemp("backbones")
    write_workspace(root)
    run_stage("opal.refine", paths_of(root), refine=REFINE, llm={})
    return paths_of(root)


def params_of(build: Callable[[Path], None] | None, base: Path, **changes: Any) -> ListingParams:
    """Block ``listing`` of a checkpoint, or of the model that is built here."""
    block = blocks()["listing"] | changes
    if build is not None:
        build(base)
        block["pretrained"] = {"model": str(base), "dtype": "fp32", "image_px": SIDE}
    return ListingParams.model_validate(block)


def scores(model: ListingModel, network: Any, pixels: np.ndarray[Any, Any]) -> torch.Tensor:
    """Logits ``[B, tokens, V]`` of one conversation about each picture."""
    talk = Conversation(model)
    text = talk.prompt(QUESTION) + talk.answer(ANSWER)
    from PIL import Image

    images = [[Image.fromarray(shown)] for shown in pixels]
    batch = model.processor(images=images, text=[text] * len(images), padding=True, return_tensors="pt")
    with torch.inference_mode():
        return network.eval()(**batch).logits  # type: ignore[no-any-return]


@pytest.mark.parametrize("family", [name for name, build in FAMILIES.items() if build])
def test_a_merged_adapter_is_the_adapter_and_its_folder_the_model(
    family: str, shop: Paths, tmp_path: Path
) -> None:
    from peft import get_peft_model

    params = params_of(FAMILIES[family], tmp_path / "base", lora=LORA)
    lessons = read_lessons("refined", params, shop.catalogue, shop.refined)
    model, pictures = starting_model(params, lessons, lessons.whole, shop)
    assert isinstance(pictures, PixelCache) and pictures.image_px == SIDE
    pixels = pictures.take(np.arange(3))
    plain = scores(model, model.model, pixels)
    assert (plain[0] - plain[1]).abs().max() > 1e-4, "the picture changes nothing"
    config = lora_config(params.lora, model.model)
    adapted = get_peft_model(model.model, config)
    torch.manual_seed(1)
    drawn = [part for name, part in adapted.named_parameters() if "lora_B" in name]
    assert len(drawn) == 2 * 7  # layers, and the projections of each
    for part in drawn:
        torch.nn.init.normal_(part)
    wanted = scores(model, adapted, pixels)
    assert (wanted - plain).abs().max() > 0.01
    plainly = SimpleNamespace(unwrap_model=lambda network: network)
    merged = tuned_model.finished(SimpleNamespace(model=adapted, accelerator=plainly), model)
    save_listing_model(merged, note_of(params, SIDE, lessons.lesson), tmp_path / "out")
    loaded = load_listing_model(tmp_path / "out")
    torch.testing.assert_close(scores(merged, merged.model, pixels), wanted, atol=1e-4, rtol=1e-4)
    assert torch.equal(scores(loaded, loaded.model, pixels), scores(merged, merged.model, pixels))
    talk = Conversation(loaded)
    assert talk.ends == Conversation(model).ends and loaded.tokenizer.eos_token_id in talk.ends
    turn = loaded.tokenizer(talk.ending, add_special_tokens=False)["input_ids"][0]
    assert turn in talk.ends, "what the model is taught to end with does not end its answer"


def test_adapters_on_no_layer_are_refused() -> None:
    lora = LoraParams(targets=["somewhere"])
    with pytest.raises(ListingConfigurationError, match=r"listing\.lora\.targets .*somewhere"):
        lora_config(lora, torch.nn.Sequential(torch.nn.Linear(2, 2)))  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_backbone_goes_from_a_refined_catalogue_to_listings(
    family: str, lora: dict[str, Any] | None, shop: Paths, tmp_path: Path
) -> None:
    params = params_of(FAMILIES[family], tmp_path / "base", lora=lora)
    listing = params.model_dump(mode="json") | {"certainty": {"products": 4, "batch_size": 4}}
    models, pairs = tmp_path / "models", tmp_path / "preferences"
    paths = shop.model_copy(
        update={"listing": models, "preferences": pairs, "plots": tmp_path / "plots", "cache": tmp_path / "c"}
    )
    run_stage("opal.model.sft", paths, variant="refined", listing=listing)
    run_stage("opal.model.preferences", paths)
    record = run_stage("opal.model.dpo", paths, listing=listing)
    assert record.metrics["resumed_from_step"] == 0 and np.isfinite(record.metrics["final_loss"])
    tuned, preferred = (load_listing_model(models / name) for name in ("sft_refined", "dpo"))
    moved = {
        name
        for (name, old), new in zip(
            tuned.model.state_dict().items(), preferred.model.state_dict().values(), strict=True
        )
        if not torch.equal(old, new)
    }
    assert moved and (lora is None or all("proj" in name for name in moved))
    schema, note = read_schema(shop.catalogue / "schema.json"), read_note(models / "dpo")
    writer = ListingGenerator(preferred, note, schema, Decoding(4, 120, "fp32"))
    pictures = PixelCache(shop.catalogue, note["image_px"], shop.cache, 1)
    for written in writer(pictures.take(np.arange(4)), ["shapes"] * 4, constrained=True):
        assert written.listing is not None
        assert not listing_problems(schema, "shapes", "bar", written.listing.attributes, require=False)
