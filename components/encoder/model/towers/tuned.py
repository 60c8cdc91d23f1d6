"""What of an encoder learns: whole towers, the last blocks of one, or low-rank adapters on its layers."""

from __future__ import annotations

from typing import Any

import torch
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.models import group_parameters
from torch import nn

from components.encoder.model.errors import EncoderConfigurationError
from components.encoder.model.params import LastBlocks, TowerLoraParams, TrainingParams
from components.encoder.model.towers.dual_encoder import Encoder


def freeze(encoder: Encoder, tune_image: bool | LastBlocks, tune_text: bool) -> None:
    """Let only tuned towers, or the last blocks of the image tower, heads and temperature learn.

    Raises:
        EncoderConfigurationError: the image tower has no such blocks.
    """
    tuned = {"image": bool(tune_image), "text": tune_text, "heads": True}
    parameters = dict(encoder.named_parameters())
    for part, names in encoder.parts().items():
        for parameter in (parameters[name] for name in names if name in parameters):
            parameter.requires_grad_(tuned[part])
    if isinstance(tune_image, LastBlocks):
        _freeze_first_blocks(encoder.towers.visual, tune_image.last_blocks)


def _freeze_first_blocks(visual: nn.Module, last: int) -> None:
    """open_clip's and timm's own groups: what follows the last block (norm, pool, projection) learns, too."""
    if isinstance(visual, VisionTransformer):
        blocks = len(visual.transformer.resblocks)
    elif isinstance(visual, TimmModel):
        groups = group_parameters(visual.trunk, visual.trunk.group_matcher())
        blocks = max(groups)  # the first group is the stem
    else:
        raise EncoderConfigurationError(
            f"tune_image.last_blocks cannot be used: the image tower, a {type(visual).__name__}, has no "
            "groups; set tune_image to true or false."
        )
    if last > blocks:
        raise EncoderConfigurationError(
            f"tune_image.last_blocks is {last}; the image tower has {blocks} blocks. Set tune_image to true "
            "to tune them all."
        )
    if isinstance(visual, VisionTransformer):
        visual.lock(unlocked_groups=last + 1)  # the projection is a group, too
    else:
        for name in (name for group in range(blocks + 1 - last) for name in groups[group]):
            visual.trunk.get_parameter(name).requires_grad_(False)


def add_adapters(encoder: Encoder, training: TrainingParams, seed: int) -> list[Any]:
    """Freeze tuned towers and give their linear and attention layers adapters that learn in their place.

    LoRA (Hu et al. 2021, arXiv 2106.09685) through PEFT.

    Returns:
        PEFT's models; ``merge_and_unload`` of each puts plain layers with the merged weights back.

    Raises:
        EncoderConfigurationError: a tower has no such layers.
    """
    if training.lora is None:
        return []
    visual: Any = encoder.towers.visual
    text: Any = getattr(encoder.towers, "text", encoder.towers)
    blocks = getattr(visual, "trunk" if isinstance(visual, TimmModel) else "transformer", visual)
    tuned = {"image": (training.tune_image, blocks), "text": (training.tune_text, text.transformer)}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = [_adapted(n, tower, training.lora) for n, (wanted, tower) in tuned.items() if wanted]
    parts = encoder.parts()
    inside = {*parts["image"], *parts["text"]}
    for name, parameter in list(encoder.named_parameters()):
        if name in inside:
            parameter.requires_grad_("lora_" in name)
    return made


def silent_adapters(encoder: Encoder) -> set[str]:
    """Layers whose adapter has had no gradient yet; a layer leaves the set when its adapter gets one.

    An adapter works where its layer is called. Some towers read a layer's weight themselves (an attention
    pool of open_clip's, EVA and Swin V2 of timm's), and what stands beside it is in no graph.
    """
    silent = set()
    for name, parameter in encoder.named_parameters():
        layer, sign, _ = name.partition(".lora_B.")
        if sign and parameter.requires_grad:
            silent.add(layer)
            parameter.register_post_accumulate_grad_hook(lambda _, layer=layer: silent.discard(layer))
    return silent


def _adapted(name: str, tower: nn.Module, params: TowerLoraParams) -> Any:
    from peft import LoraConfig, LoraModel

    layers = [
        n for n, m in tower.named_modules() if type(m) is nn.Linear or isinstance(m, nn.MultiheadAttention)
    ]
    if not layers:
        raise EncoderConfigurationError(
            f"training.lora: the {name} tower has no linear or attention layers to adapt (a convolutional "
            "one has none); tune it whole, or its last blocks."
        )
    config = LoraConfig(r=params.rank, lora_alpha=params.alpha, target_modules=layers)
    return LoraModel(tower, config, "default")
