"""The encoder's image tower as a vision tower of transformers, so that LLaVA can stand on it.

``LlavaForConditionalGeneration`` builds its tower with ``AutoModel.from_config``; registering these two
classes is all it takes. The tower gives one token for the whole picture and a grid of patch tokens, and where
asked tokens of all features (``feature_tokens.py``).
"""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from components.encoder.model.features.encode import FEATURE_BATCH, PictureEncoder, as_kept
from components.encoder.model.towers.architecture import PLACEHOLDER, Architecture, HeadSizes
from components.encoder.model.towers.dual_encoder import Encoder, Preprocessing
from components.encoder.model.towers.files import LoadedEncoder, image_sha256, part_sha256
from components.opal.model.language.feature_tokens import feature_tokens

SHRINKAGE = 0.05  # of the mean variance, so that directions of pure noise are not blown up


class EncoderVisionConfig(PreTrainedConfig):
    """How to rebuild the tower.

    ``encoder_vector`` shows the encoder's vector of the whole picture, ``grid`` is the side of the grid of
    those of its places, ``dropout`` is of both in training, ``frozen`` keeps the tower as it came.
    ``features`` are the options of :class:`FeatureTokens`, ``told`` the name and value that each of its heads
    knows; folders written before either was known have none.
    """

    model_type = "vitrine_encoder"
    hidden_size: int = 256
    image_px: int = 64
    grid: int = 4
    encoder_vector: bool = True
    dropout: float = 0.0
    frozen: bool = True
    precision: str = "bf16"  # of a frozen tower, always: a picture's tokens are the same in every stage
    architecture: dict[str, Any] | None = None  # of the encoder, without its text tower
    preprocessing: dict[str, Any] | None = None
    features: dict[str, Any] | None = None
    told: list[list[str]] | None = None

    @property
    def cells(self) -> int:
        """Vectors of the picture and of its places, in what the tower sees."""
        return 1 + self.grid**2

    @property
    def tokens(self) -> int:
        """All tokens of a picture."""
        extra = self.features or {}
        return self.encoder_vector + self.grid**2 + int(extra.get("learned", 0)) + int(extra.get("told", 0))


class EncoderVisionTower(PreTrainedModel):
    """Pixels ``[B, 3, px, px]`` in 0..255 to tokens ``[B, tokens, D]``: the whole, its parts, its features.

    Of a frozen tower what it saw before (:meth:`seen`) can stand in place of pixels.
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
        self.dropout = torch.nn.Dropout(config.dropout)
        self.features = feature_tokens(self.encoder.feature_width, size, config.features)
        self.post_init()

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Weights come from the encoder or from a file, never from here."""

    def train(self, mode: bool = True) -> EncoderVisionTower:
        """A frozen tower stays in evaluation mode: its batch statistics must not drift."""
        super().train(mode and not self.config.frozen)
        self.dropout.train(mode)
        if self.features is not None:
            self.features.train(mode)
        return self

    def forward(self, pixel_values: Tensor, return_dict: bool = True, **_: Any) -> BaseModelOutputWithPooling:
        """Whitened tokens, as ``hidden_states[-1]``."""
        seen = pixel_values.float() if pixel_values.ndim == 3 else self.seen(pixel_values)
        cells = self.config.cells
        parts = []
        if self.config.encoder_vector:
            parts.append(self.dropout((seen[:, :1] - self.centre[0]) @ self.whitening[0]))
        if self.config.grid:
            parts.append(self.dropout((seen[:, 1:cells] - self.centre[1]) @ self.whitening[1]))
        if self.features is not None:
            parts.append(self.features(seen[:, cells:]))
        tokens = torch.cat(parts, dim=1)
        return BaseModelOutputWithPooling(last_hidden_state=tokens, hidden_states=(tokens,))

    @cached_property
    def seeing(self) -> PictureEncoder:
        """The encoder of a frozen tower, as the encoder's own stages look at pictures."""
        found = image_sha256(self.encoder, part_sha256(self.encoder, "image"))
        return PictureEncoder(self.encoder, found, FEATURE_BATCH, self.config.precision)

    def head_scores(self, seen: Tensor) -> Tensor:
        """What the heads say of pictures that none of them has seen, ``[B, len(told)]``; of :meth:`seen`."""
        assert self.features is not None
        return self.features.scores(self.features.unpacked(seen[:, self.config.cells :]))

    def seen(self, pixels: Tensor) -> Tensor:
        """Tokens before they are whitened, ``[B, cells, D]``, and behind them the features in rows of ``D``.

        A frozen tower rounds both as the cache of a catalogue does.
        """
        if not self.config.frozen:
            return self._with_features(*self._seen_while_tuned(pixels))
        pictures = pixels.detach().to("cpu", torch.uint8).permute(0, 2, 3, 1).numpy()
        tokens, features = seen_by(self.seeing, np.ascontiguousarray(pictures), self.config.grid)
        # float16 as the cache keeps them: autocast to bfloat16 refuses to join those
        both = self._with_features(torch.from_numpy(tokens).float(), torch.from_numpy(features).float())
        return both.to(pixels.device)

    def _seen_while_tuned(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens and features that a gradient runs through."""
        if not self.config.grid:
            features = self.encoder.image_features(pixels)
            return self.encoder.image_vectors(features)[:, None], features
        features, cells = self.encoder.grid_features(pixels, self.config.grid)
        whole, parts = self.encoder.grid_vectors(features, cells)
        return torch.cat([whole[:, None], parts], dim=1), features

    def _with_features(self, tokens: Tensor, features: Tensor) -> Tensor:
        if self.features is None:
            return tokens
        return torch.cat([tokens, self.features.packed(features)], dim=1)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def whiten(self, shown: Tensor) -> None:
        """Take mean and covariance of the tokens of sample pictures (ZCA), and the spread of their features.

        Contrastive vectors share a large mean and a few strong directions (mostly the product type): without
        this a language model needs many times the steps until it sees colours. Our choice: whitening.

        Args:
            shown: pixels ``[N, 3, px, px]``, or what :meth:`seen` gave of them.
        """
        self.eval()  # a batch norm in training mode would learn from these pictures, and whiten other tokens
        parts = shown.split(FEATURE_BATCH)
        tokens = torch.cat([part.float() if part.ndim == 3 else self.seen(part) for part in parts])
        cells = self.config.cells
        for i, seen in enumerate((tokens[:, :1], tokens[:, 1:cells])):
            if not seen.shape[1]:
                continue
            rows = seen.flatten(0, 1).double()
            centred = rows - rows.mean(dim=0)
            values, axes = torch.linalg.eigh(centred.T @ centred / len(rows))
            scale = (values + SHRINKAGE * values.mean()).rsqrt()
            self.centre[i] = rows.mean(dim=0).float()
            self.whitening[i] = (axes * scale @ axes.T).float()
        if self.features is not None:
            self.features.standardise(tokens[:, cells:])


def seen_by(
    encoder: PictureEncoder, pixels: npt.NDArray[np.uint8], grid: int
) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.float16]]:
    """Tokens ``[N, 1 + grid², D]`` and features ``[N, F]`` of square pictures, as caches keep them."""
    if not grid:
        features = encoder.pixel_features(pixels)
        return whole_tokens(encoder, features), features
    features, cells = encoder.pixel_grid(pixels, grid)
    return encoder.grid_vectors(features, cells), features


def whole_tokens(encoder: PictureEncoder, features: npt.NDArray[Any]) -> npt.NDArray[np.float16]:
    """The one token ``[N, 1, D]`` of pictures that are read without a grid."""
    return as_kept(encoder.image_vectors(features))[:, None]


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
    loaded: LoadedEncoder,
    grid: int,
    frozen: bool,
    precision: str = "bf16",
    **options: Any,
) -> EncoderVisionConfig:
    """The configuration of a tower that starts from this encoder; ``options`` as of the class."""
    encoder = loaded.encoder
    return EncoderVisionConfig(
        hidden_size=encoder.embed_dim,
        image_px=encoder.image_px,
        grid=grid,
        frozen=frozen,
        precision=precision,
        **options,
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
