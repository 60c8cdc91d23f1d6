"""Pictures of the held-out split that training has seen, by perceptual hash: they are left out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.fft import dctn

from components.encoder.model.features.pixels import PixelCache

SIDE_PX = 32  # pictures are reduced to before the transform
KEPT = 8  # lowest frequencies per direction
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green and blue (ITU-R BT.601)
ROWS_AT_ONCE = 2048


def perceptual_hashes(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """The 64-bit "pHash" of each picture ``[N, px, px, 3]``: which low frequencies lie above their median.

    As Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions", section 3.2.1.
    Scaling and compression keep it; equal hashes are copies of one picture.
    """
    grey = pixels.astype(np.float32) @ LUMA
    low = dctn(grey, axes=(1, 2))[:, :KEPT, :KEPT].reshape(len(grey), -1)
    bits = low > np.median(low, axis=1, keepdims=True)
    found: npt.NDArray[np.uint64] = np.packbits(bits, axis=1).view(np.uint64)[:, 0]
    return found


def _hashes(pixels: PixelCache, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    parts = [
        perceptual_hashes(pixels.take(rows[i : i + ROWS_AT_ONCE])) for i in range(0, len(rows), ROWS_AT_ONCE)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.uint64)


def seen_in_training(
    pixels: PixelCache, train: npt.NDArray[np.int64], held_out: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Which of the catalogue rows ``held_out`` show a picture whose hash a row of ``train`` has as well.

    Args:
        pixels: of the catalogue, ``SIDE_PX`` wide.
    """
    return np.isin(_hashes(pixels, held_out), _hashes(pixels, train))
