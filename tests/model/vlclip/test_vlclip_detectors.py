"""Grounding DINO and OWLv2 behind the grounder's protocol, on tiny random checkpoints."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from components.encoder.model.towers.files import LoadedEncoder
from components.vlclip.grounding.detectors import DetectorGrounder, best_boxes
from components.vlclip.grounding.grounding import ground
from components.vlclip.grounding.stage import make_grounder, train_pictures
from components.vlclip.model.errors import DetectorError, GroundingDataError
from components.vlclip.model.params import DetectorGrounding, GroundParams
from tests.model.vlclip.squares_shop import BLOCKS, picture
from tests.model.vlclip.tiny_detectors import save_grounding_dino, save_owlv2

PROMPTS = {
    "grounding-dino": "a {product_type}.",
    "mm-grounding-dino": "a {product_type}.",
    "owlv2": "a {product_type}",
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("detectors")
    save_grounding_dino(root / "grounding-dino")
    save_grounding_dino(root / "mm-grounding-dino", mm=True)
    save_owlv2(root / "owlv2")
    return {kind: root / kind for kind in PROMPTS}


def settings(kind: str, folder: Path, threshold: float = 0.0) -> DetectorGrounding:
    return DetectorGrounding(checkpoint=str(folder), revision=None, prompt=PROMPTS[kind], threshold=threshold)


def no_encoder() -> LoadedEncoder:
    raise AssertionError("a detector has towers of its own")


@pytest.mark.parametrize("kind", sorted(PROMPTS))
def test_a_checkpoint_folder_grounds_pictures_through_the_stages_own_way(
    kind: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    block = BLOCKS["ground"] | {"scenes": None, "detector": settings(kind, checkpoints[kind]).model_dump()}
    nowhere = tmp_path / "nothing_is_read"  # a threshold that is set needs no catalogue
    grounder = make_grounder(
        GroundParams.model_validate(block), no_encoder, partial(train_pictures, nowhere)
    ).grounder
    assert isinstance(grounder, DetectorGrounder) and grounder.kind == kind
    pictures = [
        picture("red", "square", 20, 20, 1, False),
        b"broken",
        picture("blue", "bar", 12, 30, 2, True),
    ]
    found = ground(grounder, pictures, ["square", "square", "bar"], {"square", "bar"}, 0.0)
    assert found[1].reason == "picture cannot be read"
    for each in (found[0], found[2]):
        assert 0 < each.score < 1
        assert each.box is not None or "box" in each.reason
    again = ground(grounder, pictures, ["square", "square", "bar"], {"square", "bar"}, 0.0)
    assert again == found
    sure = DetectorGrounder(settings(kind, checkpoints[kind], threshold=1.0), "fp32", 2)
    assert ground(sure, pictures[:1], ["square"], {"square"}, 0.0)[0].reason == "score is below the threshold"


@pytest.mark.parametrize("kind", sorted(PROMPTS))
def test_the_best_box_is_the_one_of_transformers_own_post_processing(
    kind: str, checkpoints: dict[str, Path]
) -> None:
    grounder = DetectorGrounder(settings(kind, checkpoints[kind]), "fp32", 4)
    rng = np.random.default_rng(0)
    images = [
        Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for h, w in [(40, 60), (60, 40)]
    ]
    texts = ["a square", "a bar"] if kind == "owlv2" else ["a square.", "a bar."]
    inputs = grounder.inputs(images, texts)
    with torch.inference_mode():
        outputs = grounder.model(**inputs)
    boxes, scores = best_boxes(outputs, [i.size for i in images], kind)
    extra = {"input_ids": inputs["input_ids"], "text_threshold": 2.0} if kind != "owlv2" else {}
    theirs = grounder.processor.post_process_grounded_object_detection(
        outputs, threshold=0.0, target_sizes=[i.size[::-1] for i in images], **extra
    )
    for image, box, score, oracle in zip(images, boxes, scores, theirs, strict=True):
        best = int(oracle["scores"].argmax())
        assert score == pytest.approx(float(oracle["scores"][best]), abs=1e-6)
        pixels = box * np.tile(image.size, 2)
        # OWLv2's own function cuts boxes to the padded square; so does ours, later, to the picture
        assert np.allclose(np.clip(pixels, 0, 60), np.clip(oracle["boxes"][best].numpy(), 0, 60), atol=1e-3)


@pytest.mark.parametrize("kind", sorted(PROMPTS))
def test_a_detectors_threshold_is_what_absent_things_score(kind: str, checkpoints: dict[str, Path]) -> None:
    params = settings(kind, checkpoints[kind]).model_copy(update={"threshold": None, "absent_quantile": 0.75})
    grounder = DetectorGrounder(params, "fp32", 4)
    pictures = [picture(c, "square", 20, 20, i, False) for i, c in enumerate(["red", "blue", "green"] * 3)]
    grounder.calibrate(pictures, ["bar"] * len(pictures))
    scores = grounder.propose(pictures, ["bar"] * len(pictures)).scores
    assert (
        np.mean(scores < grounder.threshold - 1e-6)
        <= 0.75
        <= np.mean(scores <= grounder.threshold + 1e-6) + 0.12
    )
    with pytest.raises(GroundingDataError, match="calibrate"):
        grounder.calibrate([b"broken"], ["bar"])


def refused(folder: Path, message: str) -> None:
    with pytest.raises(DetectorError, match=message):
        DetectorGrounder(settings("owlv2", folder), "fp32", 2)


def copied(source: Path, target: Path) -> Path:
    import shutil

    shutil.copytree(source, target)
    return target


def test_a_pickle_a_cut_file_and_missing_weights_are_refused(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    pickled = copied(checkpoints["owlv2"], tmp_path / "pickled")
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    refused(pickled, "pytorch_model.bin")
    cut = copied(checkpoints["owlv2"], tmp_path / "cut")
    weights = cut / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    refused(cut, "cannot be loaded")
    partial = copied(checkpoints["owlv2"], tmp_path / "partial")
    tensors = load_file(partial / "model.safetensors")
    save_file(dict(list(tensors.items())[3:]), partial / "model.safetensors", metadata={"format": "pt"})
    refused(partial, "lacks 3 weights")
    bare = copied(checkpoints["owlv2"], tmp_path / "bare")
    (bare / "model.safetensors").unlink()
    refused(bare, "no .safetensors")


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9
    )
    BertModel(config).save_pretrained(tmp_path)
    refused(tmp_path, "is a 'bert'")


def test_the_prompt_must_name_the_type() -> None:
    with pytest.raises(ValueError, match="product_type"):
        DetectorGrounding(checkpoint="x", revision=None, prompt="a thing", threshold=0.1)


def test_a_photo_with_a_turned_camera_is_looked_at_upright(checkpoints: dict[str, Path]) -> None:
    grounder = DetectorGrounder(settings("owlv2", checkpoints["owlv2"]), "fp32", 4)
    pixels = np.random.default_rng(1).integers(0, 256, (40, 64, 3), dtype=np.uint8)
    upright, turned = io.BytesIO(), io.BytesIO()
    Image.fromarray(pixels).save(upright, "PNG")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(pixels)).save(turned, "PNG", exif=exif)
    one, two = (grounder.propose([f.getvalue()], ["square"]) for f in (upright, turned))
    assert np.allclose(one.boxes, two.boxes, atol=1e-5)
