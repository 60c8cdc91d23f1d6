"""How a map becomes a box, and from which score on: learned on scenes that the head was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from components.vlclip.grounding.dense.reading import Reader
from components.vlclip.grounding.dense.regions import best_region
from components.vlclip.grounding.dense.scenes import Scene
from components.vlclip.model.boxes import iou
from components.vlclip.model.params import RegionParams


class Calibration(NamedTuple):
    """``share`` of the peak and ``margin`` of a region; ``threshold`` of the score.

    ``scene_iou``: on the scenes that chose them. ``absent_fallback``: share of questions for a type that a
    scene does not show that fall below the threshold, on the scenes that did not set it.
    """

    share: float
    margin: float
    threshold: float
    scene_iou: float
    absent_fallback: float


def calibrated(
    reader: Reader, scenes: Sequence[Scene], types: int, params: RegionParams, seed: int
) -> Calibration:
    """Share, margin and threshold from scenes; half of the absent questions only checks the threshold."""
    everything = np.broadcast_to(np.eye(types, dtype=np.float32), (len(scenes), types, types))
    maps = reader.likely([Image.fromarray(s.pixels) for s in scenes], everything)
    asked = [
        (i, at) for i, s in enumerate(scenes) for at, kind in enumerate(s.kinds) if s.kinds.count(kind) == 1
    ]
    true = np.array([scenes[i].boxes[at] for i, at in asked]).reshape(-1, 4)
    seen = [maps[i, scenes[i].kinds[at]] for i, at in asked]
    overlaps = {
        (share, margin): float(iou(np.array([best_region(m, share, margin)[0] for m in seen]), true).mean())
        for share in params.shares
        for margin in params.margins
    }
    (share, margin), best = max(overlaps.items(), key=lambda pair: pair[1])
    peaks = np.array([maps[i, kind].max() for i, kind in _absent(scenes, types, seed)])
    threshold = float(np.quantile(peaks[::2], params.absent_quantile))
    return Calibration(share, margin, threshold, best, float((peaks[1::2] < threshold).mean()))


def _absent(scenes: Sequence[Scene], types: int, seed: int) -> list[tuple[int, int]]:
    """For each scene a type that it does not show."""
    rng = np.random.default_rng(seed)
    found = []
    for i, scene in enumerate(scenes):
        others = sorted(set(range(types)) - set(scene.cells.ravel().tolist()) - set(scene.kinds))
        if others:
            found.append((i, others[int(rng.integers(len(others)))]))
    return found
