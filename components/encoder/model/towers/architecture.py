"""What a pair of towers is, without its weights: enough to build it again from a model folder."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg, CustomTextCLIP
from open_clip.timm_model import TimmModel
from torch import nn

from components.encoder.model.errors import EncoderConfigurationError

Towers = Any  # open_clip's CLIP or CustomTextCLIP, whose types are not followed
FETCHING = ("timm_model_pretrained", "hf_model_name", "hf_tokenizer_name")
FOREIGN_CODE = "auto_map"  # of a Hugging Face configuration: names code that would be fetched
PLACEHOLDER = {"context_length": 4, "vocab_size": 8, "width": 8, "heads": 1, "layers": 1}


@dataclass(frozen=True)
class HeadSizes:
    """The networks on the features of both towers.

    Attributes:
        views: how many views of a picture the image head reads; the first is the whole picture.
    """

    embed_dim: int
    hidden: int
    dropout: float
    colours: bool
    views: int = 1


@dataclass(frozen=True)
class Architecture:
    """Two towers in open_clip's words, and the networks on them.

    Attributes:
        embed_dim: of the towers' own projections. vision: keys of ``CLIPVisionCfg``. text: of
            ``CLIPTextCfg``. quick_gelu: the activation of OpenAI's weights.
        custom_text: open_clip's ``CustomTextCLIP``. logit_bias: the start of SigLIP's bias.
        hugging_face: configuration of the text tower, if it is one of theirs.
        heads: None where the towers' projections are used.
        dimensions: how many first numbers of a vector are vectors of their own (Matryoshka), ascending.
    """

    embed_dim: int
    vision: dict[str, Any]
    text: dict[str, Any]
    quick_gelu: bool = False
    custom_text: bool = False
    logit_bias: float | None = None
    hugging_face: dict[str, Any] | None = None
    heads: HeadSizes | None = None
    dimensions: tuple[int, ...] = ()


def build_towers(architecture: Architecture, image_px: int) -> Towers:
    """The towers with new weights; nothing is fetched.

    Raises:
        EncoderConfigurationError: open_clip, timm or transformers does not know a name or a key.
    """
    vision, text = dict(architecture.vision), dict(architecture.text)
    # A model folder's config.json says this, too: it must not name what is fetched and read.
    if ":" in str(vision.get("timm_model_name")) or any(vision.get(k) or text.get(k) for k in FETCHING):
        raise EncoderConfigurationError(
            "A model folder may name timm's own architectures alone (no 'hub:name'), and none of "
            f"{', '.join(FETCHING)}: nothing is fetched to build a model."
        )
    vision["image_size"] = image_px
    arguments: dict[str, Any] = {"quick_gelu": architecture.quick_gelu}
    kind = CustomTextCLIP if architecture.custom_text else CLIP
    if architecture.logit_bias is not None:
        arguments["init_logit_bias"] = architecture.logit_bias
    tower = _hugging_face_tower(architecture) if architecture.hugging_face is not None else None
    if tower is not None:
        text = {**PLACEHOLDER}
    try:
        towers = kind(architecture.embed_dim, CLIPVisionCfg(**vision), CLIPTextCfg(**text), **arguments)
    except (TypeError, RuntimeError, AssertionError, ValueError, KeyError) as error:
        raise EncoderConfigurationError(f"open_clip cannot build the towers: {error}.") from None
    if isinstance(towers.visual, TimmModel):  # which builds a transformer for its own size alone
        towers.visual.set_input_size(image_px)
    if tower is not None:
        towers.text = tower
        towers.context_length, towers.vocab_size = tower.context_length, tower.vocab_size
    return towers


def _hugging_face_tower(architecture: Architecture) -> nn.Module:
    from open_clip.hf_model import HFTextEncoder
    from transformers import AutoConfig

    config = dict(architecture.hugging_face or {})
    if FOREIGN_CODE in config:
        raise EncoderConfigurationError(
            "The text tower's configuration names code of its own (auto_map), which is never run."
        )
    text = architecture.text
    logging.getLogger("transformers").setLevel(logging.ERROR)
    try:
        kind = config.pop("model_type")
        tower = HFTextEncoder(
            "",
            architecture.embed_dim,
            config=AutoConfig.for_model(kind, **config),
            pooler_type=text.get("hf_pooler_type"),
            proj_type=text.get("hf_proj_type"),
        )
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        reason = " ".join(repr(error).split())[:200]
        raise EncoderConfigurationError(
            f"transformers and open_clip cannot build the text tower from its configuration: {reason}."
        ) from None
    if text.get("hf_pooler_type") != "cls_pooler" and getattr(tower.transformer, "pooler", None) is not None:
        tower.transformer.pooler = None  # BERT's own, which nothing reads
    return tower
