"""The encoder that training starts from: random, or with weights made elsewhere."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from components.encoder.model.errors import EncoderConfigurationError
from components.encoder.model.params import (
    EncoderParams,
    ImageTower,
    ModelParams,
    PretrainedEncoder,
    TrainingParams,
    Weights,
)
from components.encoder.model.towers.architecture import Architecture, HeadSizes
from components.encoder.model.towers.dual_encoder import Encoder, Preprocessing
from components.encoder.model.towers.files import LoadedEncoder, in_memory
from components.encoder.model.towers.origins import origins_of
from components.encoder.model.towers.tokenizer import TextTokenizer, folder_tokenizer, open_clip_tokenizer
from components.encoder.model.towers.tuned import freeze
from components.encoder.model.towers.weights import (
    described,
    folder_config,
    load_image_trunk,
    load_text_transformer,
    weights_file,
    weights_path,
)
from components.stage.params import did_you_mean, full_stop

TEXT_WIDTH = ("hidden_size", "dim", "d_model")  # what text configurations call it


def starting_model(params: EncoderParams) -> LoadedEncoder:
    """A new encoder with its tokenizer; what no weights are given for is drawn from ``params.seed``.

    Raises:
        EncoderConfigurationError: a tower is unknown, or its weights are missing, damaged or another's.
    """
    torch.manual_seed(params.seed)
    made = _pretrained if params.model.pretrained is not None else _two_towers
    encoder, tokenizer = made(params)
    if tokenizer.vocabulary_size > (size := encoder.towers.vocab_size):
        raise EncoderConfigurationError(
            f"The tokenizer has {tokenizer.vocabulary_size:,} tokens and the text tower {size:,}: they do "
            "not belong together."
        )
    encoder.origins = origins_of(params.model)
    freeze(encoder, params.training.tune_image, params.training.tune_text)
    return in_memory(encoder, tokenizer)


def _two_towers(params: EncoderParams) -> tuple[Encoder, TextTokenizer]:
    model = params.model
    folder = weights_path(model.text.weights)
    if not folder.is_dir():
        raise EncoderConfigurationError(
            f"encoder.model.text.weights must be a folder with config.json, model.safetensors and "
            f"tokenizer.json; {folder} is none."
        )
    text = folder_config(folder)
    architecture = replace(_architecture(model, text), logit_bias=_bias(params.training))
    encoder = Encoder(architecture, _preprocessing(model.image, params.image_px))
    encoder.towers.logit_scale.data.fill_(math.log(1 / params.training.initial_temperature))
    if model.image.weights is not None:
        load_image_trunk(encoder.towers.visual, model.image.architecture, model.image.weights)
    if not model.text.random:
        load_text_transformer(encoder.towers.text.transformer, model.text.weights)
    longest = text.get("max_position_embeddings", model.text.context_length)
    if model.text.context_length > longest:
        raise EncoderConfigurationError(
            f"encoder.model.text.context_length is {model.text.context_length}; this tower reads "
            f"{longest} tokens."
        )
    tokenizer = folder_tokenizer(folder, model.text.context_length)
    _check_padding(folder, encoder.towers.text.config.pad_token_id, tokenizer.padding)
    return encoder, tokenizer


def _bias(training: TrainingParams) -> float | None:
    """Where the bias of the sigmoid loss starts: the log odds that a pair of a batch belongs together."""
    return -math.log(training.batch_size - 1) if training.loss == "sigmoid" else None


def _check_padding(folder: Path, of_tower: int | None, of_tokenizer: int) -> None:
    """The text tower looks away from padding by its id."""
    if of_tower != of_tokenizer:
        raise EncoderConfigurationError(
            f"{folder}: config.json says that padding is token {of_tower}, the tokenizer that it is "
            f"{of_tokenizer}: they do not belong together."
        )


def _architecture(model: ModelParams, text: dict[str, object]) -> Architecture:
    width = next((text[name] for name in TEXT_WIDTH if isinstance(text.get(name), int)), None)
    if not isinstance(width, int):
        raise EncoderConfigurationError(
            f"The text tower's config.json names no width ({', '.join(TEXT_WIDTH)}); it is no text encoder."
        )
    heads = HeadSizes(model.embed_dim, model.heads.hidden, model.heads.dropout, model.heads.colours)
    return Architecture(
        embed_dim=width,
        vision={
            "timm_model_name": model.image.architecture,
            "timm_pool": _own_pool(model.image.architecture),
            "timm_proj": "none",
        },
        text={"hf_pooler_type": model.text.pooler},
        custom_text=True,
        hugging_face=text,
        heads=heads,
    )


def _own_pool(architecture: str) -> str:
    """How the trunk pools; a transformer's weights have other names with another pool than its own."""
    import timm

    try:
        with torch.device("meta"):
            pool = getattr(timm.create_model(architecture), "global_pool", None)
    except (RuntimeError, ValueError, TypeError) as error:
        raise EncoderConfigurationError(f"timm cannot build {architecture}: {error}.") from None
    return pool if isinstance(pool, str) else "avg"


def _preprocessing(image: ImageTower, image_px: int) -> Preprocessing:
    import timm

    config = timm.get_pretrained_cfg(image.architecture, allow_unregistered=True)
    mean = image.mean or (config.mean if config is not None else None)
    std = image.std or (config.std if config is not None else None)
    if mean is None or std is None:
        raise EncoderConfigurationError(
            f"timm does not know {image.architecture}; see timm.list_models(), or give mean and std."
        )
    return Preprocessing(image_px, tuple(mean), tuple(std))


def _pretrained(params: EncoderParams) -> tuple[Encoder, TextTokenizer]:
    import open_clip

    chosen = params.model.pretrained
    assert chosen is not None
    config = _open_clip_config(chosen)
    tag = str(weights_file(chosen.weights)) if isinstance(chosen.weights, Weights) else chosen.weights
    quick_gelu = _quick_gelu(chosen, config)
    try:
        made = open_clip.create_model(
            chosen.architecture,
            pretrained=None if chosen.configured else tag,
            load_weights=tag is not None,
            require_pretrained=tag is not None,  # else it would start at random, and say so in a log
            force_image_size=params.image_px,
            force_quick_gelu=quick_gelu,
        )
    except Exception as error:  # readers of weights raise whatever a damaged file makes them stumble on
        reason = " ".join(str(error).split())[:300]
        raise EncoderConfigurationError(
            f"encoder.model.pretrained {chosen.architecture}/{tag} does not load: {reason}."
        ) from None
    architecture, state = _of_open_clip(config, made, quick_gelu), made.state_dict()
    if architecture.logit_bias is None:
        architecture = replace(architecture, logit_bias=_bias(params.training))
    encoder = Encoder(architecture, _seen_as(chosen, made, params.image_px))
    if "logit_bias" not in state and architecture.logit_bias is not None:
        state["logit_bias"] = encoder.towers.logit_bias.data
    encoder.towers.load_state_dict(state)
    return encoder, open_clip_tokenizer(chosen.architecture)


def _seen_as(chosen: PretrainedEncoder, made: nn.Module, image_px: int) -> Preprocessing:
    """What happens to pixels: as given, or as the weights' tag or folder says."""
    import open_clip

    known = open_clip.get_model_preprocess_cfg(made)
    return Preprocessing(image_px, tuple(chosen.mean or known["mean"]), tuple(chosen.std or known["std"]))


def _quick_gelu(chosen: PretrainedEncoder, config: Mapping[str, Any]) -> bool:
    """Whether the weights were trained with OpenAI's activation: as given, or as their tag or folder says."""
    from open_clip.pretrained import get_pretrained_cfg

    if chosen.quick_gelu is not None:
        return chosen.quick_gelu
    tag = chosen.weights if isinstance(chosen.weights, str) and not chosen.configured else ""
    of_tag = get_pretrained_cfg(chosen.architecture.replace("/", "-"), tag) if tag else {}
    return bool(of_tag.get("quick_gelu", config.get("quick_gelu", False)))


def _open_clip_config(chosen: PretrainedEncoder) -> dict[str, Any]:
    """open_clip's description of the model.

    Raises:
        EncoderConfigurationError: it cannot be read, is incomplete, or of a kind that is not supported.
    """
    import open_clip

    name = f"encoder.model.pretrained.architecture {chosen.architecture}"
    try:
        config = open_clip.get_model_config(chosen.architecture)
    except (RuntimeError, OSError, ValueError) as error:
        raise EncoderConfigurationError(f"{name} cannot be read: {error}.") from None
    if config is None:
        raise EncoderConfigurationError(f"{name} is unknown to open_clip; see open_clip.list_models().")
    if missing := [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in config]:
        raise EncoderConfigurationError(f"{name}: its open_clip_config.json lacks {', '.join(missing)}.")
    if "multimodal_cfg" in config:
        raise EncoderConfigurationError(f"{name} writes captions as well (CoCa), which is not supported.")
    if "naflex" in str(config["vision_cfg"].get("timm_model_name")):
        raise EncoderConfigurationError(
            f"{name} reads pictures of any shape (NaFlex), which is not supported; use one of fixed size."
        )
    tags = open_clip.list_pretrained_tags_by_model(chosen.architecture)
    if not chosen.configured and not chosen.of_a_file and chosen.weights not in (None, *tags):
        raise EncoderConfigurationError(
            full_stop(f"{name} has no weights '{chosen.weights}', {did_you_mean(str(chosen.weights), tags)}")
        )
    if chosen.weights == "own" and not (chosen.mean and chosen.std) and not _says_pixels(chosen.architecture):
        raise EncoderConfigurationError(
            f"{name}: its open_clip_config.json names no preprocess_cfg with mean and std; give both "
            "beside it."
        )
    return dict(config)


def _says_pixels(architecture: str) -> bool:
    """Whether a folder of this machine says how pixels are normalised; a hub's always does."""
    kind, _, folder = architecture.partition(":")
    if kind != "local-dir":
        return True
    said = json.loads((Path(folder) / "open_clip_config.json").read_text(encoding="utf-8"))
    return {"mean", "std"} <= set(said.get("preprocess_cfg", {}))


def _of_open_clip(config: dict[str, Any], made: nn.Module, quick_gelu: bool) -> Architecture:
    """What open_clip built, in the words of a model folder."""
    from open_clip.hf_model import HFTextEncoder
    from open_clip.model import CLIPTextCfg, CustomTextCLIP

    vision, text = dict(config["vision_cfg"]), dict(config["text_cfg"])
    vision.pop("timm_model_pretrained", None)
    custom = isinstance(made, CustomTextCLIP)
    hugging_face = None
    if custom and isinstance(made.text, HFTextEncoder):
        every = CLIPTextCfg(**text)  # with open_clip's defaults
        text |= {"hf_pooler_type": every.hf_pooler_type, "hf_proj_type": every.hf_proj_type}
        hugging_face = described(made.text.config.to_dict())
    for name in ("hf_model_name", "hf_tokenizer_name", "hf_model_pretrained"):
        text.pop(name, None)
    bias = getattr(made, "logit_bias", None)
    return Architecture(
        embed_dim=int(config["embed_dim"]),
        vision=vision,
        text=text,
        quick_gelu=quick_gelu,
        custom_text=custom,
        logit_bias=None if bias is None else float(bias.detach().reshape(-1)[0]),
        hugging_face=hugging_face,
    )
