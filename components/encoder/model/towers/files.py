"""A model on disk: config.json, model.safetensors, tokenizer.json, and nothing else."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CLIPTextCfg
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from components.encoder.model.errors import EncoderConfigurationError, ModelFileError
from components.encoder.model.params import ModelParams
from components.encoder.model.towers.dual_encoder import QUICK_GELU, Encoder, build_clip
from components.encoder.model.towers.tokenizer import AnyTokenizer, read_tokenizer
from components.stage.resume import sha256_file

FILES = ("config.json", "model.safetensors", "tokenizer.json")
FORMAT = 2


@dataclass(frozen=True)
class LoadedEncoder:
    """An encoder ready to use, and the hashes that identify what it computes."""

    encoder: Encoder
    tokenizer: AnyTokenizer
    vision: dict[str, Any]  # open_clip's CLIPVisionCfg, for saving what is trained from here
    model_sha256: str
    preprocessing_sha256: str


def _text_cfg(encoder: Encoder) -> dict[str, Any]:
    clip = encoder.clip
    block = clip.transformer.resblocks[0]
    return asdict(
        CLIPTextCfg(
            context_length=clip.positional_embedding.shape[0],
            vocab_size=clip.vocab_size,
            width=clip.transformer.width,
            heads=block.attn.num_heads,
            layers=len(clip.transformer.resblocks),
        )
    )


def vision_config(model: ModelParams) -> dict[str, Any]:
    """What ``build_clip`` makes the towers from: as given, or as the pretrained architecture has it."""
    if model.pretrained is None:
        return model.vision
    import open_clip

    config = open_clip.get_model_config(model.pretrained.architecture)
    vision: dict[str, Any] = config["vision_cfg"]
    return {**vision, QUICK_GELU: True} if config.get(QUICK_GELU) else vision


def save_encoder(encoder: Encoder, tokenizer: AnyTokenizer, vision: dict[str, Any], folder: Path) -> None:
    """Write the model folder; ``folder`` must not exist."""
    folder.mkdir(parents=True)
    config = {
        "format": FORMAT,
        "embed_dim": encoder.embed_dim,
        "vision": vision,
        "text": _text_cfg(encoder),
        "image_px": encoder.image_px,
        "mean": list(encoder.mean),
        "std": list(encoder.std),
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True), encoding="utf-8")
    (folder / "tokenizer.json").write_text(tokenizer.to_json(), encoding="utf-8")
    save_file({k: v.contiguous() for k, v in encoder.state_dict().items()}, folder / "model.safetensors")


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ModelFileError(
            f"There is no model at {folder}; run 'vitrine run encoder' or 'dvc pull {folder}'."
        )
    names = {p.name for p in folder.iterdir()}
    if names != set(FILES):
        wrong = ", ".join(sorted(names ^ set(FILES)))
        raise ModelFileError(f"{folder} must hold exactly {', '.join(FILES)}; differs in: {wrong}.")


def load_encoder(folder: Path) -> LoadedEncoder:
    """Read a model folder, in evaluation mode.

    Raises:
        ModelFileError: a file is missing, not allowed, cut, or does not fit the others.
    """
    _check_folder(folder)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if config["format"] != FORMAT:
            raise ModelFileError(
                f"{folder}/config.json has format {config['format']}; this version reads {FORMAT}."
            )
        clip = build_clip(
            config["embed_dim"], config["vision"], CLIPTextCfg(**config["text"]), config["image_px"]
        )
        encoder = Encoder(clip, config["image_px"], tuple(config["mean"]), tuple(config["std"]))
        encoder.load_state_dict(load_file(folder / "model.safetensors"))
    except EncoderConfigurationError as error:
        raise ModelFileError(f"{folder}/config.json cannot be used: {error}") from None
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ModelFileError(f"{folder} cannot be loaded ({error}); train or pull the model again.") from None
    preprocessing = {k: config[k] for k in ("image_px", "mean", "std")}
    return LoadedEncoder(
        encoder=encoder.to(memory_format=torch.channels_last).eval(),
        tokenizer=read_tokenizer(folder / "tokenizer.json"),
        vision=config["vision"],
        model_sha256=sha256_file(folder / "model.safetensors"),
        preprocessing_sha256=hashlib.sha256(json.dumps(preprocessing, sort_keys=True).encode()).hexdigest(),
    )
