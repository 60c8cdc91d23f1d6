"""The best window of a similarity map, among all windows of a grid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Windows:
    """Every window of whole cells on a square grid, at least ``smallest_side`` of the picture long.

    The window maximises the sum of ``similarity - level`` over its cells, divided by its area to the power
    ``compactness`` (the maximum-sum rectangle: Lampert et al. 2008, "Beyond sliding windows"). ``level`` is
    the map's own mean plus ``level_deviations`` standard deviations, so that no absolute similarity, which
    drifts with each training, has to be guessed.

    Args:
        grid: cells per side; maps are brought to this size by bilinear interpolation.
    """

    grid: int
    smallest_side: float
    level_deviations: float
    compactness: float

    @cached_property
    def edges(self) -> npt.NDArray[np.int64]:
        """Cell numbers x0 y0 x1 y1 of each window, ``[W, 4]``; x1 and y1 are not inside."""
        smallest = max(1, round(self.smallest_side * self.grid))
        spans = [(a, b) for a in range(self.grid) for b in range(a + smallest, self.grid + 1)]
        return np.array([(x0, y0, x1, y1) for x0, x1 in spans for y0, y1 in spans], dtype=np.int64)

    def sums(self, maps: Floats) -> Floats:
        """Sum of each map over each window, ``[N, grid, grid]`` to ``[N, W]``, by integral images."""
        integral = np.zeros((len(maps), self.grid + 1, self.grid + 1), dtype=np.float32)
        integral[:, 1:, 1:] = maps.cumsum(axis=1).cumsum(axis=2)
        x0, y0, x1, y1 = self.edges.T
        total: Floats = integral[:, y1, x1] - integral[:, y0, x1] - integral[:, y1, x0] + integral[:, y0, x0]
        return total

    def best(self, maps: Floats) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The best window of each map ``[N, h, w]``: boxes ``[N, 4]`` in fractions, and contrasts ``[N]``.

        A contrast is the mean inside minus the mean outside, in units of similarity: 0 where the map says
        nothing, as for a picture of nothing.
        """
        fine = resampled(maps, self.grid)
        level = fine.mean(axis=(1, 2)) + self.level_deviations * fine.std(axis=(1, 2))
        edges = self.edges
        cells = ((edges[:, 2] - edges[:, 0]) * (edges[:, 3] - edges[:, 1])).astype(np.float32)
        sums = self.sums(fine)
        chosen = ((sums - level[:, None] * cells) / cells**self.compactness).argmax(axis=1)
        inner = sums[np.arange(len(maps)), chosen].astype(np.float64)
        count, every = cells[chosen].astype(np.float64), float(self.grid**2)
        outer = (fine.sum(axis=(1, 2)) - inner) / np.maximum(every - count, 1.0)
        return edges[chosen] / self.grid, np.where(count < every, inner / count - outer, 0.0)


def resampled(maps: Floats, grid: int) -> Floats:
    """Maps ``[N, h, w]`` on a grid of ``grid`` x ``grid`` cells, bilinear."""
    import torch
    import torch.nn.functional as F

    if maps.shape[1:] == (grid, grid):
        return maps
    tensor = torch.from_numpy(np.ascontiguousarray(maps))[:, None]
    fine: Floats = F.interpolate(tensor, size=(grid, grid), mode="bilinear", align_corners=False)[
        :, 0
    ].numpy()
    return fine


def peak(maps: Floats) -> npt.NDArray[np.float64]:
    """The centre of each map's highest cell, ``[N, 2]`` x and y in fractions."""
    rows, columns = maps.shape[1:]
    best = maps.reshape(len(maps), -1).argmax(axis=1)
    return np.stack([(best % columns + 0.5) / columns, (best // columns + 0.5) / rows], axis=1)
