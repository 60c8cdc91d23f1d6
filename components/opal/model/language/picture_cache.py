"""A frozen tower's features of pictures, computed once: training reads each picture many times.

Two trainings, the preferences, the optimisation and the evaluation look at the same pictures through the same
frozen tower. Features are kept by the tower's weights and the picture's pixels, in a folder under
``.vitrine/cache`` and not in memory: delete it and nothing changes but time.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.features.vector_cache import VectorCache, key_of
from components.opal.model.language.vision_tower import EncoderVisionTower
from components.stage.progress import Progress

FOLDER = "picture_features"
VERSION = "2"  # of the tower's code: raise it when the same weights and pixels give other features
BATCH = 64  # pictures per forward pass, always: kernels, and rounding with them, are chosen by shape


class PictureCache:
    """Features of pictures, for one frozen tower.

    Args:
        tower: its own weights are part of every key. precision: ``bf16`` or ``fp32``.
        folder: where features outlive the process; None keeps them in memory.
    """

    def __init__(self, tower: EncoderVisionTower, precision: str, folder: Path | None) -> None:
        self.tower, self.bf16 = tower, precision == "bf16"
        self.dtype = np.float16 if self.bf16 else np.float32  # finer than bf16, and half of fp32
        self._disk = VectorCache(folder)
        digest = hashlib.sha256(f"{VERSION} {precision} {tower.config.grid}".encode())
        for name, tensor in sorted(tower.encoder.state_dict().items()):
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        self._weights = digest.digest()

    def __deepcopy__(self, _: Any) -> PictureCache:
        """A copy of a frozen tower sees what the tower sees."""
        return self

    def _keys(self, pixels: npt.NDArray[np.uint8]) -> list[bytes]:
        return [key_of(self._weights, self.tower.device.type, picture.tobytes()) for picture in pixels]

    def _computed(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Features ``[N, (1 + grid²) · D]`` as the folder keeps them: their bytes, read as float32."""
        rows = np.concatenate([pixels, np.repeat(pixels[-1:], BATCH - len(pixels), axis=0)])
        with (
            torch.inference_mode(),
            torch.autocast(self.tower.device.type, torch.bfloat16, enabled=self.bf16),
        ):
            whole, parts = self.tower.features(torch.from_numpy(rows).to(self.tower.device))
        features = torch.cat([whole, parts], dim=1)[: len(pixels)].flatten(1).float().cpu().numpy()
        if features.shape[1] % 2:
            features = np.pad(features, ((0, 0), (0, 1)))
        return np.ascontiguousarray(features.astype(self.dtype)).view(np.float32)

    def fill(self, pixels: npt.NDArray[np.uint8]) -> None:
        """Compute the features of those pictures ``[N, 3, px, px]`` that are not known yet."""
        self._known(pixels)

    def _known(self, pixels: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
        """What is kept of each picture; what is not yet is computed and kept."""
        keys = self._keys(pixels)
        known: dict[bytes, npt.NDArray[np.float32]] = self._disk.get(keys)
        new = {key: i for i, key in enumerate(keys) if key not in known}
        for start in range(0, len(new), BATCH):
            names = list(new)[start : start + BATCH]
            bits = self._computed(pixels[[new[name] for name in names]])
            self._disk.put(names, bits)
            known.update(zip(names, bits, strict=True))
        return [known[key] for key in keys]

    def __call__(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Features of pictures ``[B, 3, px, px]`` in 0..255: whole ``[B, 1, D]``, parts ``[B, grid², D]``."""
        rows = pixels.detach().to("cpu", torch.uint8).numpy()
        size, patches = self.tower.config.hidden_size, self.tower.config.grid**2
        kept = np.stack(self._known(rows)).view(self.dtype)[:, : (1 + patches) * size]
        features = torch.from_numpy(kept.astype(np.float32)).to(pixels.device).unflatten(1, (-1, size))
        return features[:, :1], features[:, 1:]


def cache_pictures(model: Any, precision: str, cache: Path | None) -> PictureCache | None:
    """Let the model's tower keep its features; None where it may still change, or is of another library."""
    tower = getattr(getattr(model, "model", None), "vision_tower", None)
    if not isinstance(tower, EncoderVisionTower) or not tower.config.frozen:
        return None
    tower.cache = PictureCache(tower, precision, cache / FOLDER if cache else None)
    return tower.cache


def warm_cache(
    model: Any, pixels: PixelCache, positions: npt.NDArray[np.int64], backwards: bool = False
) -> None:
    """Compute the features of every picture that the model is going to be shown, if its tower keeps them.

    Two processes that start together compute half each, if one of them goes ``backwards``: what the other has
    written meanwhile is read. Which one computed a picture's features changes no bit of them.
    """
    tower = getattr(getattr(model, "model", None), "vision_tower", None)
    if not isinstance(tower, EncoderVisionTower) or not isinstance(tower.cache, PictureCache):
        return
    shown = np.unique(positions)[:: -1 if backwards else 1]
    progress = Progress("seeing pictures", len(shown), "pictures")
    for start in range(0, len(shown), BATCH):
        rows = shown[start : start + BATCH]
        tower.cache.fill(pixels.take(rows).transpose(0, 3, 1, 2))
        progress.advance(len(rows))
