"""The encoder's image tower as a vision tower of transformers, so that LLaVA can stand on it.

``LlavaForConditionalGeneration`` builds its tower with ``AutoModel.from_config``; registering these two
classes is all it takes. The tower gives one token for the whole picture and a grid of patch tokens.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from components.encoder.model.features.encode import FEATURE_BATCH, PictureEncoder
from components.encoder.model.towers.architecture import PLACEHOLDER, Architecture, HeadSizes
from components.encoder.model.towers.dual_encoder import Encoder, Preprocessing
from components.encoder.model.towers.files import LoadedEncoder, image_sha256, part_sha256

SHRINKAGE = 0.05  # of the mean variance, so that directions of pure noise are not blown up


class EncoderVisionConfig(PreTrainedConfig):
    """How to rebuild the tower: ``grid`` is the side of the patch grid, ``frozen`` keeps it as it came."""

    model_type = "vitrine_encoder"
    hidden_size: int = 256
    image_px: int = 64
    grid: int = 4
    frozen: bool = True
    precision: str = "bf16"  # of a frozen tower, always: a picture's tokens are the same in every stage
    architecture: dict[str, Any] | None = None  # of the encoder, without its text tower
    preprocessing: dict[str, Any] | None = None


class EncoderVisionTower(PreTrainedModel):
    """Pixels ``[B, 3, px, px]`` in 0..255 to tokens ``[B, 1 + grid², D]``: the whole, then its parts.

    Of a frozen tower tokens that were computed before can stand in place of pixels.
    """

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
        self.post_init()

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Weights come from the encoder or from a file, never from here."""

    def train(self, mode: bool = True) -> EncoderVisionTower:
        """A frozen tower stays in evaluation mode: its batch statistics must not drift."""
        super().train(mode and not self.config.frozen)
        return self

    def forward(self, pixel_values: Tensor, return_dict: bool = True, **_: Any) -> BaseModelOutputWithPooling:
        """Whitened tokens, as ``hidden_states[-1]``."""
        seen = pixel_values.float() if pixel_values.ndim == 3 else self.seen(pixel_values)
        tokens = torch.cat(
            [
                (seen[:, :1] - self.centre[0]) @ self.whitening[0],
                (seen[:, 1:] - self.centre[1]) @ self.whitening[1],
            ],
            dim=1,
        )
        return BaseModelOutputWithPooling(last_hidden_state=tokens, hidden_states=(tokens,))

    @cached_property
    def seeing(self) -> PictureEncoder:
        """The encoder of a frozen tower, as the encoder's own stages look at pictures."""
        found = image_sha256(self.encoder, part_sha256(self.encoder, "image"))
        return PictureEncoder(self.encoder, found, FEATURE_BATCH, self.config.precision)

    def seen(self, pixels: Tensor) -> Tensor:
        """Tokens before they are whitened. A frozen tower rounds them as the cache of a catalogue does."""
        grid = self.config.grid
        if not self.config.frozen:
            whole, parts = self.encoder.grid_vectors(*self.encoder.grid_features(pixels, grid))
            return torch.cat([whole[:, None], parts], dim=1)
        pictures = pixels.detach().to("cpu", torch.uint8).permute(0, 2, 3, 1).numpy()
        tokens = self.seeing.grid_vectors(*self.seeing.pixel_grid(np.ascontiguousarray(pictures), grid))
        return torch.from_numpy(tokens.astype(np.float32)).to(pixels.device)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def whiten(self, shown: Tensor) -> None:
        """Take mean and covariance of the tokens of sample pictures (ZCA).

        Contrastive vectors share a large mean and a few strong directions (mostly the product type): without
        this a language model needs many times the steps until it sees colours. Our choice: whitening.

        Args:
            shown: pixels ``[N, 3, px, px]``, or tokens ``[N, 1 + grid², D]``.
        """
        self.eval()  # a batch norm in training mode would learn from these pictures, and whiten other tokens
        parts = shown.split(FEATURE_BATCH)
        tokens = torch.cat([part.float() if part.ndim == 3 else self.seen(part) for part in parts])
        for i, seen in enumerate((tokens[:, :1], tokens[:, 1:])):
            rows = seen.flatten(0, 1).double()
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


def tower_config(
    loaded: LoadedEncoder, grid: int, frozen: bool, precision: str = "bf16"
) -> EncoderVisionConfig:
    """The configuration of a tower that starts from this encoder."""
    encoder = loaded.encoder
    return EncoderVisionConfig(
        hidden_size=encoder.embed_dim,
        image_px=encoder.image_px,
        grid=grid,
        frozen=frozen,
        precision=precision,
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
    tower.__dict__.pop("seeing", None)  # it may look with a copy of the weights before
