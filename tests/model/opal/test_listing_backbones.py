"""The same code on tiny random checkpoints of other architectures: Qwen2.5-VL and SmolVLM."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from components.catalog.format.schema import read_schema
from components.encoder.model.features.pixels import PixelCache
from components.opal.model.dpo.preferring import prefer
from components.opal.model.language.files import load_listing_model, read_note, save_listing_model
from components.opal.model.params import DpoParams, ListingParams, SftParams
from components.opal.model.preferences.pairs import Pair
from components.opal.model.sft.samples import read_lessons
from components.opal.model.sft.starting_model import note_of, starting_model
from components.opal.model.sft.tuning import tune
from components.opal.model.train.run import Run
from components.opal.model.writing.generate import Decoding, ListingGenerator
from tests.model.opal.listing_shop import blocks, paths_of, write_workspace
from tests.model.opal.tiny_backbones import qwen, smol

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "lora", [None, {"rank": 2, "alpha": 4, "dropout": 0.0, "targets": ["q_proj", "v_proj"]}]
)
@pytest.mark.parametrize("build", [qwen, smol])
def test_a_backbone_is_tuned_saved_loaded_and_writes_listings(
    build: Callable[[Path], None], lora: dict[str, object] | None, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    write_workspace(tmp_path)
    build(tmp_path / "base")
    made = blocks()
    source = {"model": str(tmp_path / "base"), "revision": None, "dtype": "fp32", "image_px": 56}
    made["listing"] |= {"pretrained": source, "lora": lora}
    listing, sft = ListingParams.model_validate(made["listing"]), SftParams.model_validate(made["sft"])
    dpo, catalogue = DpoParams.model_validate(made["dpo"]), tmp_path / "data/checked"
    lessons = read_lessons("refined", listing, catalogue, tmp_path / "data/refined")
    samples = lessons.order(sft)
    model, pixels = starting_model(listing, lessons, samples, paths_of(tmp_path))
    assert isinstance(pixels, PixelCache) and pixels.image_px == 56
    done = tune(model, samples, pixels.take, Run(sft, listing, tmp_path / "sft"))
    assert done.longest < model.context_length and len(done.curves) == sft.training.steps
    whole = next(s for s in samples if s.grain == "listing")
    pair = Pair(whole.product_id, "shapes", whole.question, whole.answer, "{}", "seller", ("not a listing",))
    positions = {whole.product_id: whole.position}
    course = Run(dpo, listing, tmp_path / "dpo")
    preferred = prefer(done.model, [pair], positions, pixels.take, course)
    assert preferred.curves[-1]["accuracy"] >= 0
    save_listing_model(preferred.model, note_of(listing, 56, lessons.lesson), tmp_path / "out")
    loaded = load_listing_model(tmp_path / "out")
    writer = ListingGenerator(
        loaded, read_note(tmp_path / "out"), read_schema(catalogue / "schema.json"), Decoding(4, 120, "fp32")
    )
    import numpy as np

    written = writer(pixels.take(np.array([0, 1, 2])), ["shapes"] * 3, constrained=True)
    assert all(generated.listing is not None for generated in written)
