"""The dual encoder: open_clip's CLIP, with patch features for the text to find things in a picture."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from components.encoder.model.errors import EncoderConfigurationError
from components.encoder.model.towers.losses import mean_length
from components.encoder.model.towers.packed_texts import can_pack, encode_packed

if TYPE_CHECKING:
    from components.encoder.model.params import EncoderParams

# Fixed, and stored with the model: pixels are scaled to about unit variance.
OWN_MEAN, OWN_STD = (0.45, 0.45, 0.45), (0.27, 0.27, 0.27)


# Which stage of a convolutional trunk gives the grid of patches; the next one is added to it, and so are all
# finer ones, averaged. The last stage is left out: each of its cells sees the whole picture, and would say
# "mug" from an empty corner.
GRID_STAGE = -3
COLOUR_CHANNELS = 64
QUICK_GELU = "quick_gelu"
TEXT_KEYS = {
    "context_length",
    "vocab_size",
    "width",
    "heads",
    "layers",
}  # what a model folder keeps of a text tower


def _pooled(x: Tensor, size: tuple[int, int]) -> Tensor:
    """``adaptive_avg_pool2d``; where all windows are equal by the plain one, whose backward is faster."""
    window = (x.shape[-2] // size[0], x.shape[-1] // size[1])
    if (window[0] * size[0], window[1] * size[1]) != tuple(x.shape[-2:]):
        return F.adaptive_avg_pool2d(x, size)
    return x if window == (1, 1) else F.avg_pool2d(x, window)


class PyramidPatches(nn.Module):
    """Patch features of a convolutional trunk: all stages but the last, and colours, on one grid.

    The finer stages say where, the coarser what; all are projected to the embedding and added, as in a
    feature pyramid (Lin et al. 2017). What colour a pixel has takes no neighbours to say and many thresholds,
    which the few filters of a small trunk's first layer do not have: two layers over single pixels give the
    grid a learned histogram of colours.

    Args:
        channels: of the trunk's stages, finest first, the last one left out.
    """

    def __init__(self, channels: list[int], embed_dim: int) -> None:
        super().__init__()
        self.projections = nn.ModuleList(nn.Conv2d(c, embed_dim, kernel_size=1, bias=False) for c in channels)
        self.colours = nn.Sequential(
            nn.AvgPool2d(2),
            nn.Conv2d(3, COLOUR_CHANNELS // 2, kernel_size=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(COLOUR_CHANNELS // 2, COLOUR_CHANNELS, kernel_size=1, bias=False),
            nn.BatchNorm2d(COLOUR_CHANNELS),
            nn.ReLU(inplace=True),
        )
        self.colour_projection = nn.Conv2d(COLOUR_CHANNELS, embed_dim, kernel_size=1, bias=False)
        # How much of the patches' mean a picture's vector gets. Patches with nothing to say are short, so the
        # mean is that of what the picture shows.
        self.pooled_share = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor, stages: list[Tensor]) -> Tensor:
        """Pictures ``[B, 3, h, w]`` and stages ``[B, C, h, w]`` to ``[B, embed_dim, H, W]``."""
        size = stages[GRID_STAGE + 1].shape[-2:]
        fine = [_pooled(self.colours(images), size)]
        weights = [self.colour_projection.weight]
        coarse = []
        for project, stage in zip(self.projections, stages, strict=True):
            if stage.shape[-1] >= size[-1]:
                fine.append(_pooled(stage, size))
                weights.append(project.weight)
            else:
                coarse.append(F.interpolate(project(stage), size=size, mode="bilinear", align_corners=False))
        # The sum of the projections is the projection of all channels together.
        total = F.conv2d(torch.cat(fine, dim=1), torch.cat(weights, dim=1))
        for part in coarse:
            total = total + part
        return total


class Encoder(nn.Module):
    """Image tower and text tower with one embedding space; vectors are L2-normalised float32.

    Args:
        clip: open_clip's model; its image tower is a ``VisionTransformer`` or a timm trunk.
        image_px: side of the square input, pixels.
        mean, std: per-channel normalisation of pixels in 0..1.
    """

    def __init__(self, clip: CLIP, image_px: int, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.clip = clip
        self.image_px = image_px
        self.mean, self.std = mean, std
        self.embed_dim = int(clip.text_projection.shape[-1])
        self.patches: PyramidPatches | None = None
        if not isinstance(clip.visual, VisionTransformer):
            channels = [stage["num_chs"] for stage in clip.visual.trunk.feature_info]
            self.patches = PyramidPatches(channels[:-1], self.embed_dim)

    @property
    def temperature(self) -> Tensor:
        """The factor that similarities are multiplied by, ``exp(logit_scale)``."""
        scale: Tensor = self.clip.logit_scale.exp()
        return scale

    def normalise(self, pixels: Tensor) -> Tensor:
        """Pixels ``[B, 3, H, W]`` in 0..255 (any dtype) to the tower's input, channels last."""
        # One multiply-add on the batch: (x/255 - mean)/std.
        scale = torch.tensor([1 / (255 * s) for s in self.std], device=pixels.device).view(1, 3, 1, 1)
        shift = torch.tensor([m / s for m, s in zip(self.mean, self.std, strict=True)], device=pixels.device)
        return (pixels.float() * scale - shift.view(1, 3, 1, 1)).contiguous(memory_format=torch.channels_last)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Pictures ``[B, 3, H, W]`` in 0..255 to vectors ``[B, D]``."""
        if self.patches is not None:
            return self.encode_patches(pixels)[0]
        return F.normalize(self.clip.visual(self.normalise(pixels)).float(), dim=-1)

    def encode_patches(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures to vectors ``[B, D]`` and patch vectors ``[B, rows, columns, D]``.

        Patch vectors have a mean length of 1 in each picture, not each: a patch with nothing to say may be
        short.
        """
        vectors, grid = self.encode_grid(pixels)
        return vectors, grid.float() / mean_length(grid).view(-1, 1, 1, 1)

    def encode_grid(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """``encode_patches`` before patches are divided by their mean length, in autocast's precision."""
        images = self.normalise(pixels)
        visual = self.clip.visual
        if self.patches is not None:
            final, stages = visual.trunk.forward_intermediates(images)
            grid = self.patches(images, stages[:-1]).permute(0, 2, 3, 1)
            pooled = visual.head(visual.trunk.forward_head(final))
            pooled = pooled + self.patches.pooled_share * grid.mean(dim=(1, 2))
        else:
            pooled, tokens = self._vision_tokens(images)
            rows, columns = visual.grid_size
            grid = (tokens @ visual.proj).unflatten(1, (rows, columns))
        return F.normalize(pooled.float(), dim=-1), grid

    def _vision_tokens(self, images: Tensor) -> tuple[Tensor, Tensor]:
        visual = self.clip.visual
        pooled, tokens = visual._pool(visual.transformer(visual._embeds(images)))
        return pooled @ visual.proj, tokens

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Tokens ``[B, L]`` to vectors ``[B, D]``.

        Trailing padding is cut to the longest text of the batch: attention is causal and the text is pooled
        at its end token, so what follows that token cannot change the result.
        """
        clip = self.clip
        length = int(tokens.argmax(dim=-1).max()) + 1
        tokens = tokens[:, :length]
        mask = clip.attn_mask
        x = clip.token_embedding(tokens) + clip.positional_embedding[:length]
        mask = None if mask is None else mask[:length, :length]
        with _attention(x):
            x = clip.transformer(x, attn_mask=mask)
        x = clip.ln_final(x)[torch.arange(len(tokens), device=tokens.device), tokens.argmax(dim=-1)]
        return F.normalize((x @ clip.text_projection).float(), dim=-1)

    def encode_packed_text(self, tokens: Tensor) -> Tensor:
        """What ``encode_text`` gives but for rounding, which depends on the other texts: for training."""
        if not can_pack(self.clip):
            return self.encode_text(tokens)
        return F.normalize(encode_packed(self.clip, tokens).float(), dim=-1)


def _attention(x: Tensor) -> AbstractContextManager[Any]:
    """On a CPU, plain attention: for a dozen tokens its flash kernel's backward takes 5 ms per layer."""
    return nullcontext() if x.is_cuda else sdpa_kernel(SDPBackend.MATH)


def create_encoder(params: EncoderParams, vocabulary_size: int) -> Encoder:
    """A new encoder with random weights drawn from ``params.seed``, or with pretrained ones.

    Raises:
        EncoderConfigurationError: the vision tower is unknown to open_clip, or weights cannot be loaded.
    """
    torch.manual_seed(params.seed)
    if params.model.pretrained is not None:
        return _pretrained(params)
    text = params.model.text
    text_cfg = CLIPTextCfg(
        context_length=text.context_length,
        vocab_size=vocabulary_size,
        width=text.width,
        heads=text.heads,
        layers=text.layers,
    )
    clip = build_clip(params.model.embed_dim, params.model.vision, text_cfg, params.image_px)
    clip.logit_scale.data.fill_(math.log(1 / params.training.initial_temperature))
    encoder: Encoder = Encoder(clip, params.image_px, OWN_MEAN, OWN_STD).to(memory_format=torch.channels_last)
    return encoder


def build_clip(embed_dim: int, vision: dict[str, Any], text: CLIPTextCfg, image_px: int) -> CLIP:
    """open_clip's model from its own configuration classes.

    Args:
        vision: keys of ``CLIPVisionCfg``, and ``quick_gelu``: both towers' activation, as OpenAI's weights
            want it.

    Raises:
        EncoderConfigurationError: a key or a timm name that open_clip does not know, or one that would fetch.
    """
    own = {name: value for name, value in vision.items() if name != QUICK_GELU}
    if ":" in str(own.get("timm_model_name")) or own.get("timm_model_pretrained") or text.hf_model_name:
        # A model folder's config.json says this, too: it must not name what is fetched and read.
        raise EncoderConfigurationError(
            "encoder.model may name timm's own architectures alone (no 'hub:name'), no timm_model_pretrained "
            "and no hf_model_name: nothing is fetched to build a model; take those keys out."
        )
    try:
        vision_cfg = CLIPVisionCfg(**{**own, "image_size": image_px})
        return CLIP(embed_dim, vision_cfg, text, quick_gelu=bool(vision.get(QUICK_GELU)))
    except (TypeError, RuntimeError, AssertionError, ValueError) as error:
        raise EncoderConfigurationError(
            f"encoder.model.vision cannot be built by open_clip: {error}."
        ) from None


def _pretrained(params: EncoderParams) -> Encoder:
    import open_clip

    pretrained = params.model.pretrained
    assert pretrained is not None
    _check_text_tower(pretrained.architecture)
    try:
        clip, _, _ = open_clip.create_model_and_transforms(
            pretrained.architecture,
            pretrained=pretrained.weights,
            force_image_size=params.image_px,
            require_pretrained=True,  # a folder without weights would start at random, and say so in a log
        )
    except (RuntimeError, OSError, ValueError) as error:
        raise EncoderConfigurationError(
            f"encoder.model.pretrained {pretrained.architecture}/{pretrained.weights} does not load: {error}."
        ) from None
    if not isinstance(clip, CLIP):
        raise EncoderConfigurationError(
            f"{pretrained.architecture} is not one of open_clip's CLIP models with its own text transformer."
        )
    size = getattr(clip.visual, "preprocess_cfg", None) or open_clip.get_model_preprocess_cfg(clip)
    encoder = Encoder(clip, params.image_px, tuple(size["mean"]), tuple(size["std"]))
    if encoder.patches is not None:
        # New patches must not disturb vectors that are already good.
        encoder.patches.pooled_share.data.zero_()
    return encoder


def _check_text_tower(architecture: str) -> None:
    """Refuse a text tower that would come back from its model folder as another one."""
    import open_clip

    try:
        config = open_clip.get_model_config(architecture)
    except (RuntimeError, OSError, ValueError) as error:
        raise EncoderConfigurationError(
            f"encoder.model.pretrained.architecture {architecture} cannot be read: {error}."
        ) from None
    if config is None:
        raise EncoderConfigurationError(
            f"encoder.model.pretrained.architecture {architecture} is unknown to open_clip."
        )
    if foreign := sorted(set(config["text_cfg"]) - TEXT_KEYS):
        raise EncoderConfigurationError(
            f"{architecture} is not one of open_clip's CLIP models with its own text transformer and CLIP's "
            f"tokenizer (text_cfg has {', '.join(foreign)})."
        )
