"""The encoder that training starts from: random, or with weights made elsewhere."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import nn

from components.encoder.model.errors import EncoderConfigurationError
from components.encoder.model.params import EncoderParams, ImageTower, ModelParams, Pretrained
from components.encoder.model.towers.architecture import Architecture, HeadSizes
from components.encoder.model.towers.dual_encoder import Encoder, Preprocessing
from components.encoder.model.towers.files import LoadedEncoder, in_memory
from components.encoder.model.towers.tokenizer import TextTokenizer, folder_tokenizer, open_clip_tokenizer
from components.encoder.model.towers.weights import (
    folder_config,
    load_image_trunk,
    load_text_transformer,
    weights_path,
)

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
    freeze(encoder, params.training.tune_image, params.training.tune_text)
    return in_memory(encoder, tokenizer)


def freeze(encoder: Encoder, tune_image: bool, tune_text: bool) -> None:
    """Let only tuned towers, heads and temperature learn."""
    tuned = {"image": tune_image, "text": tune_text, "heads": True}
    parameters = dict(encoder.named_parameters())
    for part, names in encoder.parts().items():
        for parameter in (parameters[name] for name in names if name in parameters):
            parameter.requires_grad_(tuned[part])


def _two_towers(params: EncoderParams) -> tuple[Encoder, TextTokenizer]:
    model = params.model
    folder = weights_path(model.text.weights)
    if not folder.is_dir():
        raise EncoderConfigurationError(
            f"encoder.model.text.weights must be a folder with config.json, model.safetensors and "
            f"tokenizer.json; {folder} is none."
        )
    text = folder_config(folder)
    encoder = Encoder(_architecture(model, text), _preprocessing(model.image, params.image_px))
    encoder.towers.logit_scale.data.fill_(math.log(1 / params.training.initial_temperature))
    if model.image.weights is not None:
        load_image_trunk(encoder.towers.visual.trunk, model.image.architecture, model.image.weights)
    if not model.text.random:
        load_text_transformer(encoder.towers.text.transformer, model.text.weights)
    longest = text.get("max_position_embeddings", model.text.context_length)
    if model.text.context_length > longest:
        raise EncoderConfigurationError(
            f"encoder.model.text.context_length is {model.text.context_length}; this tower reads "
            f"{longest} tokens."
        )
    return encoder, folder_tokenizer(folder, model.text.context_length)


def _architecture(model: ModelParams, text: dict[str, object]) -> Architecture:
    width = next((text[name] for name in TEXT_WIDTH if isinstance(text.get(name), int)), None)
    if not isinstance(width, int):
        raise EncoderConfigurationError(
            f"The text tower's config.json names no width ({', '.join(TEXT_WIDTH)}); it is no text encoder."
        )
    heads = HeadSizes(model.embed_dim, model.heads.hidden, model.heads.dropout, model.heads.colours)
    return Architecture(
        embed_dim=width,
        vision={"timm_model_name": model.image.architecture, "timm_pool": "avg", "timm_proj": "none"},
        text={"hf_pooler_type": model.text.pooler},
        custom_text=True,
        hugging_face=text,
        heads=heads,
    )


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
    try:
        made = open_clip.create_model_and_transforms(
            chosen.architecture,
            pretrained=chosen.weights,
            force_image_size=params.image_px,
            force_quick_gelu=bool(chosen.quick_gelu),
            require_pretrained=chosen.weights
            is not None,  # else it would start at random, and say so in a log
        )[0]
    except (RuntimeError, OSError, ValueError, TypeError, AssertionError) as error:
        raise EncoderConfigurationError(
            f"encoder.model.pretrained {chosen.architecture}/{chosen.weights} does not load: {error}."
        ) from None
    architecture = _of_open_clip(config, made, chosen)
    size = getattr(made.visual, "preprocess_cfg", None) or open_clip.get_model_preprocess_cfg(made)
    preprocessing = Preprocessing(
        params.image_px, tuple(chosen.mean or size["mean"]), tuple(chosen.std or size["std"])
    )
    encoder = Encoder(architecture, preprocessing)
    encoder.towers.load_state_dict(made.state_dict())
    return encoder, open_clip_tokenizer(chosen.architecture)


def _open_clip_config(chosen: Pretrained) -> dict[str, object]:
    import open_clip

    try:
        config = open_clip.get_model_config(chosen.architecture)
    except (RuntimeError, OSError, ValueError) as error:
        raise EncoderConfigurationError(
            f"encoder.model.pretrained.architecture {chosen.architecture} cannot be read: {error}."
        ) from None
    if config is None:
        raise EncoderConfigurationError(
            f"encoder.model.pretrained.architecture {chosen.architecture} is unknown to open_clip."
        )
    return dict(config)


def _of_open_clip(config: dict[str, object], made: nn.Module, chosen: Pretrained) -> Architecture:
    """What open_clip built, in the words of a model folder."""
    from open_clip.hf_model import HFTextEncoder
    from open_clip.model import CustomTextCLIP

    vision, text = dict(config["vision_cfg"]), dict(config["text_cfg"])  # type: ignore[call-overload]
    vision.pop("timm_model_pretrained", None)
    custom = isinstance(made, CustomTextCLIP)
    hugging_face = None
    if custom and isinstance(made.text, HFTextEncoder):
        hugging_face = {
            k: v
            for k, v in made.text.config.to_dict().items()
            if not k.startswith("_") and k != "transformers_version"
        }
    for name in ("hf_model_name", "hf_tokenizer_name", "hf_model_pretrained"):
        text.pop(name, None)
    quick = chosen.quick_gelu if chosen.quick_gelu is not None else _uses_quick_gelu(made)
    bias = getattr(made, "logit_bias", None)
    return replace(
        Architecture(embed_dim=int(config["embed_dim"]), vision=vision, text=text),  # type: ignore[call-overload]
        quick_gelu=quick,
        custom_text=custom,
        logit_bias=None if bias is None else float(bias.detach().reshape(-1)[0]),
        hugging_face=hugging_face,
    )


def _uses_quick_gelu(made: nn.Module) -> bool:
    """Whether open_clip built the towers with OpenAI's activation, as the tag's settings may ask for."""
    from open_clip.transformer import QuickGELU

    return any(isinstance(module, QuickGELU) for module in made.modules())
