"""Features of the whole picture and of the crop side by side: what an encoder of two views reads."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.picture_features import FeatureCache, Features
from components.encoder.model.towers.dual_encoder import Encoder
from components.stage.paths import Paths
from components.vlclip.model.variants import Confidence, Pictures

VIEWS = 2  # the whole picture, and the crop


def reads_together(encoder: Encoder) -> bool:
    """Whether an encoder can read whole picture and crop together: its heads can, projections cannot."""
    return encoder.heads is not None


class ViewFeatures:
    """Features ``[whole, crop, confidence]`` of every product; those of each picture are computed once."""

    def __init__(self, whole: FeatureCache, crops: FeatureCache, confidence: Confidence) -> None:
        self._whole, self._crops, self._confidence = whole, crops, confidence

    def take(self, rows: npt.NDArray[np.int64]) -> Features:
        """Features ``[len(rows), 2 F + 1]`` of catalogue rows."""
        parts = [self._whole.take(rows), self._crops.take(rows), self._confidence[rows, None]]
        return np.concatenate(parts, axis=1)


def view_features(pictures: Pictures, batch: BatchEncoder, paths: Paths) -> FeatureCache | ViewFeatures:
    """Features of what a variant sees, by a frozen image tower."""
    first = FeatureCache(pictures.first, batch, paths.cache)
    if pictures.crops is None or pictures.confidence is None:
        return first
    return ViewFeatures(first, FeatureCache(pictures.crops, batch, paths.cache), pictures.confidence)
