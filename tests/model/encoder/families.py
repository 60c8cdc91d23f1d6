"""Tiny random checkpoints of the families of dual encoders, each built from its own configuration."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from torch import nn

from components.encoder.model.params import EncoderParams
from components.stage.resume import sha256_file
from tests.model.coloured_shapes import CAPTIONS, encoder_block
from tests.model.tiny_towers import WORDS, text_tower, write_text_tower, write_tokenizer

SIDE = 64  # of the pictures; the checkpoints were made for other sizes
HALVES = (0.5, 0.5, 0.5)
OPENAI = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
VIT = {"image_size": 96, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16}
TEXT = {"context_length": 16, "width": 32, "heads": 2, "layers": 1}
CLIP = {"embed_dim": 32, "vision_cfg": VIT, "text_cfg": TEXT | {"vocab_size": 49408}}
SIGLIP_TEXT = TEXT | {
    "vocab_size": 400, "no_causal_mask": True, "proj_bias": True, "pool_type": "last",
    "norm_kwargs": {"eps": 1e-6}, "tokenizer_kwargs": {"clean": "canonicalize"},
}  # fmt: skip
SIGLIP = {
    "embed_dim": 96,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {
        "image_size": 160, "timm_model_name": "test_vit3", "timm_pool": "map", "timm_proj": "none",
    },
    "text_cfg": SIGLIP_TEXT,
}  # fmt: skip


@dataclass(frozen=True)
class Family:
    """A checkpoint on disk.

    Attributes:
        block: block ``encoder.model`` that names it. name, weights: for open_clip; the oracle. quick: the
            activation that its weights were trained with. mean, std: of its pixels.
    """

    block: dict[str, Any]
    name: str = ""
    weights: str | None = None
    quick: bool = False
    mean: tuple[float, ...] = HALVES
    std: tuple[float, ...] = HALVES

    def oracle(self) -> nn.Module:
        """open_clip's own model on the same weights."""
        model = open_clip.create_model(
            self.name, pretrained=self.weights, force_image_size=SIDE, force_quick_gelu=self.quick
        )
        return model.eval()


def spread(model: nn.Module) -> None:
    """Weights far from zero, so that another activation or normalisation gives other vectors."""
    generator = torch.Generator().manual_seed(1)
    for value in model.parameters():
        if value.ndim:
            value.data.normal_(std=0.3, generator=generator)


def _register(folder: Path, name: str, config: dict[str, Any]) -> Path:
    """Make a configuration known to open_clip by name, with spread random weights in a file."""
    (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / f"{name}.json")
    model = open_clip.create_model(name, pretrained=None, force_quick_gelu=config.get("quick_gelu", False))
    spread(model)
    save_file(model.state_dict(), folder / f"{name}.safetensors")
    return folder / f"{name}.safetensors"


def _own_folder(folder: Path, config: dict[str, Any], pixels: dict[str, Any]) -> Family:
    """A folder of open_clip's with configuration and weights."""
    where = folder / "own"
    where.mkdir()
    described = {"model_cfg": config, "preprocess_cfg": pixels}
    (where / "open_clip_config.json").write_text(json.dumps(described))
    model = open_clip.create_model(f"local-dir:{where}", load_weights=False)
    spread(model)
    save_file(model.state_dict(), where / "open_clip_model.safetensors")
    block = {"pretrained": {"architecture": f"local-dir:{where}", "weights": "own"}}
    return Family(block, name=f"local-dir:{where}", mean=pixels["mean"], std=pixels["std"])


def clip(folder: Path) -> Family:
    """OpenAI's CLIP: QuickGELU and its own normalisation, in a file that says neither."""
    file = str(_register(folder, "tiny-clip", CLIP))
    block = {"architecture": "tiny-clip", "weights": file, "quick_gelu": True, **OPENAI}
    return Family({"pretrained": block}, "tiny-clip", file, quick=True, **OPENAI)


def clip_folder(folder: Path) -> Family:
    """The same as a folder that says both."""
    family = _own_folder(folder, CLIP | {"quick_gelu": True}, OPENAI)
    return Family(family.block, family.name, quick=True, **OPENAI)


def siglip(folder: Path) -> Family:
    """SigLIP: a transformer of timm with a pooling map, a text transformer without causal mask, a bias."""
    write_tokenizer(folder / "tokenizer", WORDS)
    text = SIGLIP_TEXT | {"hf_tokenizer_name": str(folder / "tokenizer")}
    file = str(_register(folder, "tiny-siglip", SIGLIP | {"text_cfg": text}))
    block = {"architecture": "tiny-siglip", "weights": file, "quick_gelu": False}
    return Family({"pretrained": block | {"mean": HALVES, "std": HALVES}}, "tiny-siglip", file)


def siglip2(folder: Path) -> Family:
    """SigLIP 2: another GELU in the text transformer; weights pinned by their checksum."""
    write_tokenizer(folder / "tokenizer", WORDS)
    text = SIGLIP_TEXT | {"act_kwargs": {"approximate": "tanh"}}
    text |= {"hf_tokenizer_name": str(folder / "tokenizer")}
    file = _register(folder, "tiny-siglip2", SIGLIP | {"text_cfg": text})
    pinned = {"path": str(file), "sha256": sha256_file(file)}
    block = {"architecture": "tiny-siglip2", "weights": pinned, "quick_gelu": False}
    return Family({"pretrained": block | {"mean": HALVES, "std": HALVES}}, "tiny-siglip2", str(file))


def ecommerce_siglip(folder: Path) -> Family:
    """A SigLIP as shops publish theirs: one folder with configuration, weights and tokenizer."""
    family = _own_folder(
        folder, SIGLIP | {"text_cfg": SIGLIP_TEXT | {"hf_tokenizer_name": "shop/its-siglip"}},
        {"mean": HALVES, "std": HALVES},
    )  # fmt: skip
    write_tokenizer(folder / "own", WORDS)
    return family


def clip_with_hugging_face_text(folder: Path) -> Family:
    """open_clip's CLIP with a text tower of Hugging Face and a projection of its own."""
    tower = write_text_tower(folder / "text", WORDS)
    text = {"hf_model_name": str(tower), "hf_tokenizer_name": str(tower), "context_length": 16}
    family = _own_folder(folder, {"embed_dim": 32, "vision_cfg": VIT, "text_cfg": text}, OPENAI)
    write_tokenizer(folder / "own", WORDS)
    return family


FAMILIES: dict[str, Callable[[Path], Family]] = {
    f.__name__: f for f in (clip, clip_folder, siglip, siglip2, ecommerce_siglip, clip_with_hugging_face_text)
}


def timm_trunk(architecture: str, folder: Path) -> dict[str, Any]:
    """Block ``encoder.model`` of a trunk of timm with weights in a file, and a text tower of Hugging Face."""
    import timm

    model = timm.create_model(architecture)
    spread(model)
    save_file(model.state_dict(), folder / "trunk.safetensors")
    image = {"architecture": architecture, "weights": {"path": str(folder / "trunk.safetensors")}}
    text = {"weights": {"path": str(text_tower())}, "context_length": 12}
    return {"image": image, "text": text, "heads": {"hidden": 32}, "embed_dim": 16}


def params_of(model: dict[str, Any], **training: Any) -> EncoderParams:
    """Block ``encoder`` with this model."""
    block = encoder_block(image_px=SIDE, captions=CAPTIONS, **training)
    return EncoderParams.model_validate(block | {"model": model})
