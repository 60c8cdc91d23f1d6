"""How unlike the training pictures a picture is: its Mahalanobis distance in the features of the trunk.

A contrastive head maps a photo of anything to a vector like those it knows, so its vectors do not tell a
photo of another kind; the features of the frozen trunk do (Lee et al. 2018, arXiv 1807.03888; measured in
docs/systems/opal-tried.md). The covariance is that of probabilistic principal components (Tipping and Bishop
1999): some hundred directions with a variance each, and one variance for all others. Features are not scaled:
one that hardly varies among training pictures would then decide alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from components.opal.model.errors import ListingModelFileError

Floats = npt.NDArray[np.float32]
PICTURES = 1024  # of the train split, at most
DIRECTIONS = 128
LEAST = 1e-6  # share of the largest variance below which a direction is none


class Features(Protocol):
    """What a trunk makes of a picture: features ``[N, F]``."""

    def __call__(self, pictures: npt.NDArray[np.uint8], /) -> npt.NDArray[np.floating]: ...


@dataclass(frozen=True)
class Likeness:
    """Mean and principal directions of the features of training pictures.

    Args:
        mean: ``[F]``. axes: ``[F, K]``. variance: ``[K]``, of features along the axes.
        rest: ``[1]``, their variance along each other direction.
    """

    mean: Floats
    axes: Floats
    variance: Floats
    rest: Floats

    @classmethod
    def of(cls, features: npt.NDArray[np.floating]) -> Likeness:
        """Learn from the features ``[N, F]`` of training pictures, N at least 2."""
        rows = features.astype(np.float32)
        mean = rows.mean(axis=0)
        z = rows - mean
        # N is mostly below F: the axes come from the products of the rows.
        values, vectors = np.linalg.eigh((z @ z.T).astype(np.float64))
        most = min(DIRECTIONS, len(rows) - 1, rows.shape[1])
        values, vectors = values[::-1][:most], vectors[:, ::-1][:, :most]
        kept = values > LEAST * max(float(values[0]), LEAST)
        values, vectors = values[kept], vectors[:, kept]
        axes = (z.T @ vectors) / np.sqrt(values)
        total, others = float(np.square(z).sum()), max(rows.shape[1] - len(values), 1)
        rest = max((total - float(values.sum())) / others, LEAST * total / rows.shape[1], LEAST) / len(rows)
        columns = (mean, axes, values / len(rows), np.array([rest]))
        return cls(*(np.ascontiguousarray(column, np.float32) for column in columns))

    def unlikeness(self, features: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Squared distance ``[N]`` of features ``[N, F]`` from the training pictures, over F: about 1."""
        z = features.astype(np.float32) - self.mean
        inside = np.square(z @ self.axes)
        rest = np.maximum(np.square(z).sum(axis=1) - inside.sum(axis=1), 0) / self.rest
        distance: npt.NDArray[np.float64] = ((inside / self.variance).sum(axis=1) + rest) / len(self.mean)
        return distance.astype(np.float64)

    def save(self, file: Path) -> None:
        """Write the arrays as safetensors."""
        save_file({name: getattr(self, name) for name in self.__dataclass_fields__}, file)

    @classmethod
    def load(cls, file: Path) -> Likeness:
        """Read them back.

        Raises:
            ListingModelFileError: unreadable, other arrays, or sizes that do not fit.
        """
        try:
            found = load_file(file)
            made = cls(**found)
            width, count = made.axes.shape
            fits = made.mean.shape == (width,) and made.variance.shape == (count,)
            if not fits or made.rest.shape != (1,):
                raise ValueError("its arrays do not fit each other")
            if not all(np.isfinite(array).all() for array in found.values()):
                raise ValueError("it holds values that are not finite")
        except (OSError, SafetensorError, TypeError, ValueError) as error:
            raise ListingModelFileError(
                f"{file} cannot be read ({' '.join(str(error).split())[:200]}); train or pull it again."
            ) from None
        return made
