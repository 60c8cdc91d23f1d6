"""From a catalogue's own pictures to a trained and calibrated head."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from PIL import Image

from components.encoder.model.crops.boxes import Boxes, iou
from components.grounding.dense.cut_outs import Pixels, TypedCutOut, cut_out
from components.grounding.dense.files import RegionCalibration, TrainedHead
from components.grounding.dense.head import Maps
from components.grounding.dense.reading import Floats, Reader, best_region
from components.grounding.dense.scenes import Composer, Scene
from components.grounding.dense.train import scene_pool, train_head
from components.grounding.grounding import readable
from components.grounding.params import GroundParams, RegionParams, SceneParams
from components.stage.resources.accelerator import device

GROUND_PICTURES = 100  # whose corners are grounds
LEAST_TYPES = 2


class SceneParts(NamedTuple):
    """Cut-outs, the pictures whose corners are grounds, and the types that were cut out, in order."""

    cut_outs: list[TypedCutOut]
    grounds: list[Pixels]
    types: list[str]

    @property
    def problem(self) -> str:
        """Why no scenes can be composed of them; empty where they can."""
        if not self.cut_outs:
            return "no picture of the train split is plain: there is nothing to cut out"
        if len(self.types) < LEAST_TYPES:
            return f"only {self.types[0]!r} could be cut out: types need others to compete with"
        return ""


def cut_outs_of(pictures: Iterable[tuple[bytes, str]], params: SceneParams, threads: int) -> SceneParts:
    """Cut products out of encoded pictures of known types, where they are plain and can be read."""

    def _cut(picture: tuple[bytes, str]) -> tuple[Pixels, TypedCutOut] | None:
        side = params.cut_out_px
        image = readable(picture[0], side)
        if image is None:
            return None
        if max(image.size) > side:
            image.thumbnail((side, side), Image.Resampling.BICUBIC)
        pixels = np.asarray(image)
        found = cut_out(pixels, 0)
        return None if found is None else (pixels, found)

    asked = list(pictures)
    with ThreadPoolExecutor(threads) as pool:
        cuts = [(c, kind) for c, (_, kind) in zip(pool.map(_cut, asked), asked, strict=True) if c is not None]
    types = sorted({kind for _, kind in cuts})
    number = {kind: i for i, kind in enumerate(types)}
    grounds = [pixels for (pixels, _), _ in cuts[:: max(1, len(cuts) // GROUND_PICTURES)]]
    return SceneParts([c._replace(kind=number[kind]) for (_, c), kind in cuts], grounds, types)


def taught_head(found: SceneParts, params: GroundParams, maps: Maps, image_sha256: str) -> TrainedHead:
    """The head, trained on scenes of what could be cut out, and calibrated on further ones.

    Args:
        maps: of the trunk whose image tower has the digest ``image_sha256``.
    """
    types, scenes = len(found.types), params.scenes
    assert scenes is not None
    composer = Composer(found.cut_outs, found.grounds, types, scenes.composer)
    first, region = scenes.training.scenes, scenes.region
    pool = scene_pool(maps, composer, first, params.threads)
    head, loss = train_head(pool, types, scenes.training, device(), params.precision)
    reader = Reader(maps, head, scenes.sizes_px, params.batch_size)
    further = [composer.scene(first + i) for i in range(region.scenes)]
    calibration = calibrated(reader, further, types, region, scenes.composer.seed)
    told = {"cut_outs": len(found.cut_outs), "scenes": len(pool.cells), "last_loss": round(loss, 6)}
    reads = scenes.sizes_px, region.agreement, params.minimum_area
    return TrainedHead(head, found.types, calibration, image_sha256, told, *reads)


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


def chosen_pictures(kinds: Sequence[str], most: int) -> list[int]:
    """Positions of at most ``most`` pictures: types take turns, so that a rare one is not lost; sorted."""
    seen: dict[str, int] = {}
    turns = []
    for at, kind in enumerate(kinds):
        seen[kind] = seen.get(kind, -1) + 1
        turns.append((seen[kind], at))
    return sorted(at for _, at in sorted(turns)[:most])
