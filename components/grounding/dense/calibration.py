"""How a map becomes a box, and from which score on: learned on scenes that the head was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from components.encoder.model.crops.boxes import Boxes, iou
from components.grounding.dense.reading import Floats, Reader, best_region
from components.grounding.dense.scenes import Scene
from components.grounding.params import RegionParams


class RegionCalibration(NamedTuple):
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
) -> RegionCalibration:
    """Share, margin and threshold from scenes; half of the absent questions only checks the threshold.

    Where the scenes show nothing to ask for, or everything, the first share and a threshold of 0 stand.
    """
    shown = [[at for at, kind in enumerate(s.kinds) if s.kinds.count(kind) == 1] for s in scenes]
    absent = _absent(scenes, types, seed)
    weights = np.zeros((len(scenes), 1 + max(map(len, shown)), types), dtype=np.float32)
    for i, scene in enumerate(scenes):
        for k, at in enumerate(shown[i], start=1):
            weights[i, k, scene.kinds[at]] = 1
        if i in absent:
            weights[i, 0, absent[i]] = 1
    maps = reader.likely([Image.fromarray(s.pixels) for s in scenes], weights)
    seen = [maps[i, k] for i, places in enumerate(shown) for k in range(1, len(places) + 1)]
    true = [scenes[i].boxes[at] for i, places in enumerate(shown) for at in places]
    tried = [(share, margin) for share in params.shares for margin in params.margins]
    overlaps = [_overlap(seen, true, share, margin) for share, margin in tried]
    best = int(np.argmax(overlaps))
    peaks = np.array([maps[i, 0].max() for i in absent])
    threshold = float(np.quantile(peaks[::2], params.absent_quantile)) if len(peaks) else 0.0
    checked = float((peaks[1::2] < threshold).mean()) if len(peaks) > 1 else 0.0
    return RegionCalibration(*tried[best], threshold, overlaps[best], checked)


def _overlap(maps: Sequence[Floats], true: Sequence[Boxes], share: float, margin: float) -> float:
    """Mean intersection over union of the maps' boxes with the true ones; 0 where there are none."""
    if not maps:
        return 0.0
    found = np.array([best_region(m, share, margin)[0] for m in maps])
    return float(iou(np.nan_to_num(found), np.array(true)).mean())


def _absent(scenes: Sequence[Scene], types: int, seed: int) -> dict[int, int]:
    """A type that a scene does not show, by the scene's place; without those that show all."""
    rng = np.random.default_rng(seed)
    found = {}
    for i, scene in enumerate(scenes):
        others = sorted(set(range(types)) - set(scene.cells.ravel().tolist()) - set(scene.kinds))
        if others:
            found[i] = others[int(rng.integers(len(others)))]
    return found
