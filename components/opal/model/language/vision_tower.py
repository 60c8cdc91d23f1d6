"""The encoder's image tower as a vision tower of transformers, so that LLaVA can stand on it.

``LlavaForConditionalGeneration`` builds its tower with ``AutoModel.from_config``; registering these two
classes is all it takes. The tower gives one token for the whole picture and a grid of patch tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from components.encoder.model.towers.architecture import PLACEHOLDER, Architecture, HeadSizes
from components.encoder.model.towers.dual_encoder import Encoder, Preprocessing
from components.encoder.model.towers.files import LoadedEncoder

SAMPLE_BATCH = 64  # pictures at once while statistics are taken
SHRINKAGE = 0.05  # of the mean variance, so that directions of pure noise are not blown up


class EncoderVisionConfig(PreTrainedConfig):
    """How to rebuild the tower: ``grid`` is the side of the patch grid, ``frozen`` keeps it as it came."""

    model_type = "vitrine_encoder"
    hidden_size: int = 256
    image_px: int = 64
    grid: int = 4
    frozen: bool = True
    architecture: dict[str, Any] | None = None  # of the encoder, without its text tower
    preprocessing: dict[str, Any] | None = None


class EncoderVisionTower(PreTrainedModel):
    """Pixels ``[B, 3, px, px]`` in 0..255 to tokens ``[B, 1 + grid², D]``: the whole, then its parts."""

    config_class = EncoderVisionConfig
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    _no_split_modules: list[str] = []  # noqa: RUF012 - transformers' own way

    def __init__(self, config: EncoderVisionConfig) -> None:
        super().__init__(config)
        self.encoder = _seeing(dict(config.architecture or {}), dict(config.preprocessing or {}))
        size = config.hidden_size
        self.register_buffer("centre", torch.zeros(2, size))  # of the whole, of the parts
        self.register_buffer("whitening", torch.eye(size).repeat(2, 1, 1))
        self.requires_grad_(not config.frozen)
        self.cache: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None  # of a frozen tower's features
        self.post_init()

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Weights come from the encoder or from a file, never from here."""

    def train(self, mode: bool = True) -> EncoderVisionTower:
        """A frozen tower stays in evaluation mode: its batch statistics must not drift."""
        super().train(mode and not self.config.frozen)
        return self

    def forward(self, pixel_values: Tensor, return_dict: bool = True, **_: Any) -> BaseModelOutputWithPooling:
        """Whitened tokens, as ``hidden_states[-1]``."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.frozen):
            whole, parts = (self.cache or self.features)(pixel_values)
        whole = (whole - self.centre[0]) @ self.whitening[0]
        parts = (parts - self.centre[1]) @ self.whitening[1]
        tokens = torch.cat([whole, parts], dim=1)
        return BaseModelOutputWithPooling(last_hidden_state=tokens, hidden_states=(tokens,))

    def features(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """The pooled vector ``[B, 1, D]`` and the patch grid ``[B, grid², D]`` of the encoder."""
        pooled, patches = self.encoder.encode_patches(pixels, self.config.grid)
        parts = F.adaptive_avg_pool2d(patches.permute(0, 3, 1, 2), self.config.grid)
        return pooled[:, None], parts.flatten(2).transpose(1, 2)

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def whiten(self, pixels: Tensor) -> None:
        """Take mean and covariance of the tokens from sample pictures ``[N, 3, px, px]`` (ZCA).

        Contrastive vectors share a large mean and a few strong directions (mostly the product type): without
        this a language model needs many times the steps until it sees colours. Our choice: whitening.
        """
        self.eval()  # a batch norm in training mode would learn from these pictures, and whiten other tokens
        batches = [(self.cache or self.features)(batch) for batch in pixels.split(SAMPLE_BATCH)]
        for i in range(2):
            rows = torch.cat([batch[i].flatten(0, 1) for batch in batches]).double()
            centred = rows - rows.mean(dim=0)
            values, axes = torch.linalg.eigh(centred.T @ centred / len(rows))
            scale = (values + SHRINKAGE * values.mean()).rsqrt()
            self.centre[i] = rows.mean(dim=0).float()
            self.whitening[i] = (axes * scale @ axes.T).float()


def _seeing(architecture: dict[str, Any], preprocessing: dict[str, Any]) -> Encoder:
    """The image side of an encoder: a vision tower keeps nothing that reads text."""
    sizes = architecture.pop("heads", None)
    built = Architecture(**architecture, heads=None if sizes is None else HeadSizes(**sizes))
    seen = Preprocessing(preprocessing["image_px"], tuple(preprocessing["mean"]), tuple(preprocessing["std"]))
    encoder = Encoder(built, seen)
    del encoder.towers.text, encoder.towers.logit_scale
    if encoder.heads is not None:
        del encoder.heads["text"]
    return encoder


def register_tower() -> None:
    """Make the tower known to transformers' Auto classes; calling it again changes nothing."""
    AutoConfig.register(EncoderVisionConfig.model_type, EncoderVisionConfig, exist_ok=True)
    AutoModel.register(EncoderVisionConfig, EncoderVisionTower, exist_ok=True)


def tower_config(loaded: LoadedEncoder, grid: int, frozen: bool) -> EncoderVisionConfig:
    """The configuration of a tower that starts from this encoder."""
    encoder = loaded.encoder
    return EncoderVisionConfig(
        hidden_size=encoder.embed_dim,
        image_px=encoder.image_px,
        grid=grid,
        frozen=frozen,
        architecture=asdict(
            replace(encoder.architecture, hugging_face=None, text=PLACEHOLDER, custom_text=True)
        ),
        preprocessing={
            name: list(value) if isinstance(value, tuple) else value
            for name, value in encoder.preprocessing._asdict().items()
        },
    )


def load_encoder_weights(tower: EncoderVisionTower, loaded: LoadedEncoder) -> None:
    """Copy the encoder's image side into the tower; every weight of the tower must be found."""
    state = loaded.encoder.state_dict()
    tower.encoder.load_state_dict({name: state[name] for name in tower.encoder.state_dict()})
