"""Weights that are missing, damaged, hostile or another's: one sentence each; nothing is run or guessed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from components.encoder.model.errors import EncoderConfigurationError
from components.encoder.model.params import EncoderParams, ModelParams
from components.encoder.model.towers.origins import origins_of
from components.encoder.model.towers.start import starting_model
from components.stage.resume import sha256_file
from tests.model.encoder.families import CLIP, FAMILIES, params_of
from tests.model.tiny_towers import WORDS, model_block, write_text_tower, write_tokenizer

SHA256 = "0" * 64


def told(params: EncoderParams) -> str:
    """The sentence that these parameters are refused with."""
    with pytest.raises(EncoderConfigurationError) as caught:
        starting_model(params)
    sentence = str(caught.value)
    assert "\n" not in sentence and len(sentence) < 700
    return sentence


def of_image(architecture: str = "test_resnet", **weights: Any) -> EncoderParams:
    return params_of(model_block() | {"image": {"architecture": architecture, "weights": weights}})


def of_text(folder: Path, **text: Any) -> EncoderParams:
    block = model_block()
    return params_of(block | {"text": block["text"] | {"weights": {"path": str(folder)}} | text})


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.file,)


def test_a_package_that_is_not_installed_or_lacks_the_file() -> None:
    sentence = told(of_image(package="no_such_package", path="x.pth", sha256=SHA256))
    assert "no_such_package" in sentence and "not installed" in sentence and "towers" in sentence
    assert "holds no x.pth" in told(of_image(package="timm", path="x.pth", sha256=SHA256))
    assert "There are no weights at nowhere.pth" in told(of_image(path="nowhere.pth"))


def test_origins_name_no_path_of_this_machine(tmp_path: Path) -> None:
    """And of weights that nobody states anything about, they say that nothing is stated."""
    folder = write_text_tower(tmp_path / "mine", ["red mug"])
    sha256 = sha256_file(folder / "model.safetensors")
    block = {"image": {"weights": None}, "text": {"weights": {"path": str(folder)}}}
    found = origins_of(ModelParams.model_validate(block))
    assert found["image tower"] == {"architecture": "tf_efficientnet_lite0", "source": "random"}
    unknown = {"licence": "not stated", "trained on": "not stated"}
    assert found["text tower"] == {"source": "file mine", "sha256": sha256, **unknown}
    own = {"architecture": f"local-dir:{tmp_path}/shop", "weights": "own"}
    said = origins_of(ModelParams.model_validate({"pretrained": own}))
    assert str(tmp_path) not in str(said) and "folder shop" in str(said)
    drawn = origins_of(ModelParams.model_validate({"pretrained": own | {"weights": None}}))
    assert drawn["dual encoder"] == {"architecture": "folder shop", "source": "random"}
    file = {"architecture": "ViT-B-32", "weights": str(folder / "model.safetensors"), "quick_gelu": True}
    file |= {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    of_file = origins_of(ModelParams.model_validate({"pretrained": file}))["dual encoder"]
    made = {"architecture": "ViT-B-32", "source": "file model.safetensors"}
    assert of_file == made | {"sha256": sha256} | unknown


def test_weights_of_a_package_need_their_checksum() -> None:
    with pytest.raises(ValidationError, match="need their sha256"):
        of_image(package="timm", path="x.pth")


def test_another_checksum(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors")
    assert "not the file that was meant" in told(
        of_image(path=str(tmp_path / "x.safetensors"), sha256=SHA256)
    )
    tower = write_text_tower(tmp_path / "text", WORDS)
    block = {"text": {"weights": {"path": str(tower), "sha256": SHA256}}}
    assert "not the file that was meant" in told(params_of(model_block() | block))
    clip = FAMILIES["clip"](tmp_path).block["pretrained"]
    pinned = {"weights": {"path": clip["weights"], "sha256": SHA256}}
    assert "not the file that was meant" in told(params_of({"pretrained": clip | pinned}, tune_text=True))


def test_weights_of_another_architecture(tmp_path: Path) -> None:
    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "vit.safetensors")
    sentence = told(of_image(path=str(tmp_path / "vit.safetensors")))
    assert "another architecture than test_resnet" in sentence and "tensors are missing" in sentence
    tower = write_text_tower(tmp_path / "text", WORDS, layers=1)
    config = json.loads((tower / "config.json").read_text()) | {"num_hidden_layers": 2}
    (tower / "config.json").write_text(json.dumps(config))
    assert "another text tower than their config.json" in told(of_text(tower))
    narrow = write_text_tower(tmp_path / "narrow", WORDS, width=16)
    shutil.copy(narrow / "model.safetensors", tower)
    (tower / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 1}))
    assert "do not fit" in told(of_text(tower))


def test_a_trunk_that_timm_does_not_know() -> None:
    block = model_block() | {"image": {"architecture": "resnet_of_my_dreams", "weights": None}}
    assert "resnet_of_my_dreams" in told(params_of(block))


def test_damaged_weights(tmp_path: Path) -> None:
    tower = write_text_tower(tmp_path / "text", WORDS)
    whole = (tower / "model.safetensors").read_bytes()
    for data in (whole[: len(whole) // 2], b"", b"<html>not found</html>"):
        (tower / "model.safetensors").write_bytes(data)
        assert "cannot be read as weights" in told(of_text(tower))
    clip = FAMILIES["clip"](tmp_path).block
    file = Path(clip["pretrained"]["weights"])
    file.write_bytes(file.read_bytes()[:-1000])
    assert "does not load" in told(params_of(clip, tune_text=True))
    (tmp_path / "list.pth").write_bytes(b"")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    assert "more than tensors" in told(of_image(path=str(tmp_path / "list.pth")))


def test_code_in_weights_is_never_run(tmp_path: Path) -> None:
    """Neither in a file that is named, nor in one beside the weights."""
    torch.save({"a": Trap(tmp_path / "sprung")}, tmp_path / "trap.pth")
    assert "cannot be read as weights" in told(of_image(path=str(tmp_path / "trap.pth")))
    tower = write_text_tower(tmp_path / "text", WORDS)
    shutil.copy(tmp_path / "trap.pth", tower / "pytorch_model.bin")
    starting_model(of_text(tower))  # reads model.safetensors alone
    (tower / "model.safetensors").unlink()
    assert "holds no model.safetensors" in told(of_text(tower))
    family = FAMILIES["clip_folder"](tmp_path)
    own = tmp_path / "own"
    (own / "open_clip_model.safetensors").unlink()
    shutil.copy(tmp_path / "trap.pth", own / "open_clip_pytorch_model.bin")
    assert "does not load" in told(params_of(family.block, tune_text=True))
    config = json.loads((tower / "config.json").read_text()) | {"auto_map": {"AutoModel": "code.Model"}}
    (tower / "config.json").write_text(json.dumps(config))
    assert "code of its own" in told(of_text(tower))
    assert not (tmp_path / "sprung").exists()


def _no_tokenizer(tower: Path) -> str:
    (tower / "tokenizer.json").unlink()
    return "no usable tokenizer.json"


def _cut_tokenizer(tower: Path) -> str:
    (tower / "tokenizer.json").write_text('{"version": "1.0", "mod')
    return "no usable tokenizer.json"


def _no_padding(tower: Path) -> str:
    (tower / "tokenizer_config.json").write_text("{}")
    return "pad_token"


def _strange_padding(tower: Path) -> str:
    (tower / "tokenizer_config.json").write_text('{"pad_token": "<nothing>"}')
    return "a pad_token that is no token"


def _larger_vocabulary(tower: Path) -> str:
    write_tokenizer(tower, [" ".join(a + b for a in "abcdefghij" for b in "klmnopqrst"), *WORDS])
    return "they do not belong together"


def _other_padding(tower: Path) -> str:
    config = json.loads((tower / "config.json").read_text()) | {"pad_token_id": 3}
    (tower / "config.json").write_text(json.dumps(config))
    return "padding is token 3"


def _no_config(tower: Path) -> str:
    (tower / "config.json").unlink()
    return "config.json cannot be read"


def _no_text_encoder(tower: Path) -> str:
    (tower / "config.json").write_text('{"model_type": "resnet", "depths": [1]}')
    return "it is no text encoder"


def _unknown_kind(tower: Path) -> str:
    config = json.loads((tower / "config.json").read_text()) | {"model_type": "bert-of-my-dreams"}
    (tower / "config.json").write_text(json.dumps(config))
    return "cannot build the text tower"


@pytest.mark.parametrize(
    "spoil",
    [
        _no_tokenizer, _cut_tokenizer, _no_padding, _strange_padding, _larger_vocabulary, _other_padding,
        _no_config, _no_text_encoder, _unknown_kind,
    ],
)  # fmt: skip
def test_a_text_folder_that_is_not_whole(spoil: Callable[[Path], str], tmp_path: Path) -> None:
    tower = write_text_tower(tmp_path / "text", WORDS)
    sentence = spoil(tower)
    assert sentence in told(of_text(tower))


def test_more_tokens_than_a_text_tower_reads_or_a_file_for_a_folder(tmp_path: Path) -> None:
    tower = write_text_tower(tmp_path / "text", WORDS, longest=16)
    assert "this tower reads 16 tokens" in told(of_text(tower, context_length=20))
    assert "must be a folder" in told(of_text(tower / "model.safetensors"))


def test_weights_of_other_model_classes_go_into_a_text_tower(tmp_path: Path) -> None:
    """A file saved from a model with a task head, or by an older library, has prefixes before the names."""
    tower = write_text_tower(tmp_path / "text", WORDS)
    plain = starting_model(of_text(tower)).text_sha256
    state = load_file(tower / "model.safetensors")
    for prefix in ("bert.", "0.auto_model."):
        renamed = {prefix + name: value for name, value in state.items()} | {"cls.bias": torch.zeros(2)}
        save_file(renamed, tower / "model.safetensors")
        assert starting_model(of_text(tower)).text_sha256 == plain


def folder(tmp_path: Path, config: dict[str, Any], **more: Any) -> EncoderParams:
    """Parameters that name a folder of open_clip's without weights."""
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config} | more))
    block = {"architecture": f"local-dir:{tmp_path}", "weights": "own"}
    return params_of({"pretrained": block}, tune_text=True)


def test_a_dual_encoder_of_an_unsupported_kind(tmp_path: Path) -> None:
    pixels = {"preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    trunk = {"timm_model_name": "naflexvit_base_patch16_siglip", "image_size": 64}
    assert "NaFlex" in told(folder(tmp_path, CLIP | {"vision_cfg": trunk}, **pixels))
    assert "CoCa" in told(folder(tmp_path, CLIP | {"multimodal_cfg": {}}, **pixels))
    assert "lacks text_cfg" in told(folder(tmp_path, {k: CLIP[k] for k in ("embed_dim", "vision_cfg")}))
    assert "no preprocess_cfg" in told(folder(tmp_path, CLIP))
    assert "could not be loaded" in told(folder(tmp_path, CLIP, **pixels))  # the folder has no weights
    for name, sentence in (("ViT-Z", "unknown to open_clip"), (f"local-dir:{tmp_path}/x", "cannot be read")):
        weights = "own" if ":" in name else "laion2b"
        block = {"architecture": name, "weights": weights}
        assert sentence in told(params_of({"pretrained": block}, tune_text=True))


def _no_tokenizer_of_dual(folder: Path) -> str:
    for file in folder.glob("tokenizer*"):
        file.unlink()
    return "tokenizer"


def _larger_vocabulary_of_dual(folder: Path) -> str:
    write_tokenizer(folder, [*WORDS, " ".join(f"word{i}" for i in range(500))])
    return "do not belong together"


def _cut_dual(folder: Path) -> str:
    file = folder / "open_clip_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    return "does not load"


def _pickled_dual(folder: Path) -> str:
    (folder / "open_clip_model.safetensors").unlink()
    torch.save({"w": Trap(folder / "ran")}, folder / "open_clip_pytorch_model.bin")
    return "does not load"


def _other_dual(folder: Path) -> str:
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["width"] = 48
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return "does not load"


@pytest.mark.parametrize(
    "spoil",
    [_no_tokenizer_of_dual, _larger_vocabulary_of_dual, _cut_dual, _pickled_dual, _other_dual],
)
def test_a_folder_of_a_dual_encoder_that_is_not_whole(spoil: Callable[[Path], str], tmp_path: Path) -> None:
    model = FAMILIES["ecommerce_siglip"](tmp_path).block
    sentence = spoil(tmp_path / "own")
    assert sentence in told(params_of(model, tune_text=True))
    assert not (tmp_path / "own/ran").exists(), "code in the file was run"


def test_a_tag_that_does_not_exist_is_told_with_the_nearest() -> None:
    block = {"architecture": "ViT-B-32", "weights": "laion2b_s34b_b79"}
    assert "did you mean laion2b_s34b_b79k?" in told(params_of({"pretrained": block}, tune_text=True))


@pytest.mark.parametrize(
    ("block", "sentence"),
    [
        ({"architecture": "ViT-B-32", "weights": "w/clip.safetensors"}, "quick_gelu, mean, std"),
        ({"architecture": "ViT-B-32", "weights": {"path": "w/clip"}, "quick_gelu": True}, "give mean, std"),
        ({"architecture": "ViT-B-32", "weights": "own"}, "is a name"),
        ({"architecture": "local-dir:w", "weights": "openai"}, "brings its weights"),
    ],
)
def test_weights_whose_settings_cannot_be_known_ask_for_them(block: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        params_of({"pretrained": block}, tune_text=True)


def test_a_dual_encoder_without_heads_must_be_tuned() -> None:
    with pytest.raises(ValidationError, match="has no heads"):
        params_of({"pretrained": {"architecture": "ViT-B-32"}})
