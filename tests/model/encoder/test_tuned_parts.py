"""What of an encoder learns: adapters, last blocks, and a dual encoder that keeps to what it knew."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from components.encoder.model.errors import EncoderConfigurationError, TrainingDataError
from components.encoder.model.params import EncoderParams
from components.encoder.model.towers.files import load_encoder
from components.encoder.model.towers.start import starting_model
from components.encoder.model.train.contrastive import Contrastive
from components.encoder.model.train.stage import EncoderStage, run
from components.encoder.model.train.training_set import make_training_set
from components.stage.paths import Paths
from components.stage.record import Record
from components.training.curves import History
from components.vlclip.model.params import VlclipTraining
from tests.model.encoder.families import CLIP, FAMILIES, SIDE, params_of, timm_trunk

LORA = {"rank": 2, "alpha": 4}


def objective(shapes: Path, params: EncoderParams, cache: Path) -> Contrastive:
    torch.set_num_threads(1)
    model = starting_model(params)
    data, validate = make_training_set(shapes / "data/checked", params, model, cache)
    return Contrastive(model.encoder, data, params, validate)


def pictures() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(0, 256, (4, 3, SIDE, SIDE), dtype=np.uint8))


def block(name: str, folder: Path, **training: Any) -> EncoderParams:
    """Of a family of dual encoders, or of a trunk of timm's with a text tower and heads."""
    model = FAMILIES[name](folder).block if name in FAMILIES else timm_trunk(name, folder)
    return params_of(model, **{"epochs": 1, "learning_rate": 0.01} | training)


@pytest.mark.parametrize("name", ["clip", "siglip", "clip_with_hugging_face_text", "test_vit"])
def test_merged_weights_compute_what_the_adapters_did(name: str, shapes: Path, tmp_path: Path) -> None:
    params = block(name, tmp_path, tune_image=True, tune_text=True, lora=LORA)
    before = starting_model(params).encoder.state_dict()
    made = objective(shapes, params, tmp_path / "cache")
    history = made.loop().run(3)
    encoder = made.module
    learned = {n for n, p in encoder.named_parameters() if p.requires_grad}
    for tower in ("towers.visual.", "towers.t"):
        assert any(n.startswith(tower) and "lora_" in n for n in learned), f"{tower} has no adapters"
    assert all("lora_" in n or n.startswith(("heads.", "towers.logit_")) for n in learned)
    tokens = torch.randint(1, 20, (3, 12), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        adapted = encoder.encode_image(pictures()), encoder.encode_text(tokens)
        made.finish(history)
        merged = encoder.encode_image(pictures()), encoder.encode_text(tokens)
    for ours, theirs in zip(merged, adapted, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    after = encoder.state_dict()
    assert set(after) == set(before), "the folder would hold adapters"
    assert any(not torch.allclose(after[n], before[n], atol=1e-4) for n in after if n.startswith("towers.v"))


def test_an_interrupted_run_of_adapters_ends_as_an_uninterrupted_one(shapes: Path, tmp_path: Path) -> None:
    params = block("clip", tmp_path, tune_image=True, tune_text=True, lora=LORA, distil=0.5)
    whole = objective(shapes, params, tmp_path / "cache")
    whole.finish(whole.loop().run())
    for until in (2, None):
        again = objective(shapes, params, tmp_path / "cache")
        history = again.loop(tmp_path / "resume").run(until)
    again.finish(history)
    expected, found = whole.module.state_dict(), again.module.state_dict()
    assert all(torch.equal(expected[k], found[k]) for k in expected)


def test_a_run_does_not_go_on_from_a_state_of_other_weights(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same name, so that the parameters are the same."""
    monkeypatch.chdir(tmp_path)
    params = block("clip", tmp_path, tune_text=True)
    paths = Paths(catalogue=shapes / "data/checked", encoder=tmp_path / "encoder", plots=tmp_path / "plots")
    stopped = []

    def stop(self: Contrastive, resume: Path) -> None:
        stopped.append(resume)
        raise KeyboardInterrupt

    monkeypatch.setattr(Contrastive, "loop", stop)
    chosen = params.model.pretrained
    assert chosen is not None and isinstance(chosen.weights, str)
    for change in (1.0, 1.0, 2.0):
        weights = {name: value * change for name, value in load_file(chosen.weights).items()}
        save_file(weights, chosen.weights)
        with pytest.raises(KeyboardInterrupt):
            run(EncoderStage(encoder=params), paths, Record(stage="encoder"))
    assert stopped[0] == stopped[1] != stopped[2]


def test_layers_that_are_read_past_their_adapters_are_refused(shapes: Path, tmp_path: Path) -> None:
    """OpenAI's ResNets have linear layers in their attention pool alone, which reads their weights."""
    vision = {"image_size": SIDE, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8, "patch_size": None}
    (tmp_path / "tiny-rn.json").write_text(json.dumps(CLIP | {"vision_cfg": vision}))
    open_clip.add_model_config(tmp_path / "tiny-rn.json")
    training = {"epochs": 1, "tune_image": True, "lora": LORA}
    params = params_of({"pretrained": {"architecture": "tiny-rn"}}, **training)
    made = objective(shapes, params, tmp_path / "cache")
    with pytest.raises(EncoderConfigurationError, match=r"4 layers would learn nothing.*attnpool\.c_proj"):
        made.loop().run(1)


def test_the_record_counts_what_adapters_have_trained(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    params = block("clip", tmp_path, tune_image=True, lora=LORA)
    made = objective(shapes, params, tmp_path / "cache").module
    learns = {n: p.numel() for n, p in made.named_parameters() if p.requires_grad}
    assert any("lora_" in n for n in learns)
    paths = Paths(catalogue=shapes / "data/checked", encoder=tmp_path / "encoder", plots=tmp_path / "plots")
    record = Record(stage="encoder")
    run(EncoderStage(encoder=params), paths, record)
    assert record.metrics["parameters_trained"] == sum(learns.values())
    whole = load_encoder(tmp_path / "encoder").encoder
    assert record.metrics["parameters"] == sum(p.numel() for p in whole.parameters())


def test_a_convolutional_tower_has_nothing_to_adapt(shapes: Path, tmp_path: Path) -> None:
    params = block("test_resnet", tmp_path, tune_image=True, lora=LORA)
    with pytest.raises(EncoderConfigurationError, match="image tower has no linear or attention layers"):
        objective(shapes, params, tmp_path / "cache")


@pytest.mark.parametrize("name", ["clip", "siglip", "test_vit", "test_resnet", "test_convnext"])
def test_last_blocks_alone_change(name: str, shapes: Path, tmp_path: Path) -> None:
    """Statistics of a frozen batch normalisation among what stays."""
    params = block(name, tmp_path, tune_image={"last_blocks": 1})
    made = objective(shapes, params, tmp_path / "cache")
    before = {n: v.clone() for n, v in made.module.state_dict().items()}
    made.loop().run(3)
    after = made.module.state_dict()
    changed = [n for n in before if n.startswith("towers.visual.") and not torch.equal(after[n], before[n])]
    kept = [n for n in before if n.startswith("towers.visual.") and torch.equal(after[n], before[n])]
    assert changed and kept
    first = next(iter(n for n in before if n.startswith("towers.visual.") and n.endswith("weight")))
    assert first in kept
    assert all(torch.equal(after[n], before[n]) for n in made.module.parts()["text"])


def test_the_head_on_a_tuned_tower_starts_at_the_scale_of_its_features(shapes: Path, tmp_path: Path) -> None:
    """The oracle is the frozen tower's head, which has seen the same pictures' features."""
    heads = []
    for tuned in (False, {"last_blocks": 1}):
        made = objective(shapes, block("test_vit", tmp_path, tune_image=tuned), tmp_path / "cache")
        heads.append(made.module.heads["image"])
    frozen, tuned_head = heads
    torch.testing.assert_close(frozen.mean, tuned_head.mean, atol=1e-3, rtol=1e-2)
    torch.testing.assert_close(1 / frozen.scale, 1 / tuned_head.scale, atol=1e-3, rtol=1e-2)


def test_more_blocks_than_there_are(tmp_path: Path) -> None:
    for name in ("clip", "test_vit"):
        (tmp_path / name).mkdir()
        with pytest.raises(EncoderConfigurationError, match=r"last_blocks is 99; the image tower has \d+"):
            starting_model(block(name, tmp_path / name, tune_image={"last_blocks": 99}))


def test_distillation_keeps_a_dual_encoder_near_its_base(shapes: Path, tmp_path: Path) -> None:
    ends = []
    for weight in (1e-6, 20.0):
        params = block("clip", tmp_path, epochs=4, tune_image=True, tune_text=True, distil=weight)
        history = objective(shapes, params, tmp_path / "cache").loop().run()
        assert history.steps[0]["distillation"] == pytest.approx(0, abs=1e-3)
        ends.append(np.mean([s["distillation"] for s in history.steps[-3:]]))
    assert ends[1] < 0.5 * ends[0]


def test_validation_chooses_how_far_from_the_base_to_go(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the curve says how much each share finds, in the record and in what the report draws."""
    monkeypatch.chdir(tmp_path)
    params = block("clip", tmp_path, tune_image=True, tune_text=True, interpolate=[0.0, 0.5, 1.0])
    paths = Paths(catalogue=shapes / "data/checked", encoder=tmp_path / "encoder", plots=tmp_path / "plots")
    record = Record(stage="encoder")
    run(EncoderStage(encoder=params), paths, record)
    name = "validation_titles_mrr_by_share_percent"
    curve = record.curves[name]
    assert [p["step"] for p in curve] == [0, 50, 100]
    best = max(curve, key=lambda p: (p["value"], p["step"]))
    assert record.metrics["tuned_share"] == best["step"] / 100
    assert record.metrics["validation_titles_mrr"] == best["value"]  # of the weights that are published
    with (tmp_path / "plots/encoder.csv").open() as file:
        drawn = {float(r["step"]): float(r[name]) for r in csv.DictReader(file) if r[name]}
    assert drawn == pytest.approx({p["step"]: p["value"] for p in curve}, rel=1e-4)


def test_the_mean_of_weights_is_the_one_that_was_chosen(shapes: Path, tmp_path: Path) -> None:
    params = block("clip", tmp_path, tune_image=True, tune_text=True, interpolate=[0.25, 1.0])
    made = objective(shapes, params, tmp_path / "cache")
    made.loop().run()
    base = starting_model(params).encoder.state_dict()
    tuned = {n: v.clone() for n, v in made.module.state_dict().items()}
    seen: list[float] = []
    made._validate = lambda _: {"figure": seen.append(0.0) or float(-len(seen))}  # the first is the best
    made.finish(History())
    assert made.tuned_share == 0.25 and len(seen) == 2 and made.figures_of_mean == {"figure": -1.0}
    for name, value in made.module.state_dict().items():
        torch.testing.assert_close(value, 0.75 * base[name] + 0.25 * tuned[name], atol=1e-6, rtol=1e-5)


def test_what_does_not_go_together_is_refused(shapes: Path, tiny: EncoderParams, tmp_path: Path) -> None:
    for changes, sentence in (
        ({"lora": LORA}, "adapts tuned towers"),
        ({"lora": LORA, "tune_image": {"last_blocks": 1}}, "a whole tower"),
        ({"distil": 0.5}, "need model.pretrained"),
        ({"interpolate": [0.5]}, "need model.pretrained"),
        ({"interpolate": [1.0, 0.5]}, "whole percents, each once, ascending"),
        ({"interpolate": [0.5, 0.5]}, "whole percents, each once, ascending"),
        ({"interpolate": [0.125]}, "whole percents, each once, ascending"),
        ({"tower_learning_rate": 0.1}, "of tuned towers beside heads"),
    ):
        block_of = tiny.model_dump()
        with pytest.raises(ValidationError, match=sentence):
            EncoderParams.model_validate(block_of | {"training": block_of["training"] | changes})
    with pytest.raises(ValidationError, match=r"captions\.attributes is 0"):
        EncoderParams.model_validate(block_of | {"captions": block_of["captions"] | {"attributes": 0}})
    with pytest.raises(ValidationError, match="of tuned towers beside heads"):
        block("clip", tmp_path, tune_image=True, tower_learning_rate=0.1)
    with pytest.raises(ValidationError, match="are of encoder"):
        VlclipTraining(distil=0.5)
    params = block("clip", tmp_path, tune_image=True, interpolate=[0.5])
    made = objective(shapes, params, tmp_path / "cache")
    with pytest.raises(TrainingDataError, match="chosen on the validation split"):
        Contrastive(made.module, made.data, params, None)
