"""Which products of different splits show the same picture: copies, also smaller or saved anew.

A fingerprint is the picture as 8x8 cells of mean colour. Colour belongs to it: a hash of brightness alone
takes a cushion in twelve colours for one picture. And it is compared by distance, not for equality: a smaller
copy, or one that was compressed again, differs a little everywhere.
"""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from components.catalog.format.images import decode_image
from components.catalog.format.params import ImageLimits

if TYPE_CHECKING:
    import pandas as pd

CELLS = 8  # of a side
DECODED_PX = 128  # of a JPEG, which may be decoded at a fraction of its size: smaller ones blur the cells
# Of 255: what a cell's red, green or blue may differ by between copies (python -m benchmarks.same_pictures).
MOST_DIFFERENCE = 8


def fingerprint(data: bytes, limits: ImageLimits) -> bytes:
    """The mean red, green and blue of each cell: 192 bytes.

    Raises:
        ImageError: the picture is refused or cannot be decoded to its end.
    """
    from PIL.Image import Resampling

    image = decode_image(data, limits, target_px=DECODED_PX)
    return image.resize((CELLS, CELLS), Resampling.BILINEAR).tobytes()


def with_twins(products: pd.DataFrame) -> pd.DataFrame:
    """``products`` with the number of splits that each picture lies in, and a product of another split.

    Args:
        products: Columns ``picture`` (a fingerprint; None for none), ``split`` and ``product_id``.
    """
    splits = [{split} for split in products["split"]]
    twins: list[Any] = [None] * len(products)
    ids = products["product_id"].to_list()
    shown = _of_splits(products)
    for here, there in permutations(sorted(shown), 2):
        for rows, copies in _copies(shown[here], shown[there]):
            for row in rows:
                splits[row].add(there)
                twins[row] = twins[row] or ids[copies[0]]
    return products.assign(picture_splits=[len(each) for each in splits], picture_twin=twins)


_Shown = dict[bytes, list[int]]  # fingerprint -> rows that have it


def _of_splits(products: pd.DataFrame) -> dict[str, _Shown]:
    found: dict[str, _Shown] = {}
    for row, (picture, split) in enumerate(zip(products["picture"], products["split"], strict=True)):
        if isinstance(picture, bytes) and isinstance(split, str):
            found.setdefault(split, {}).setdefault(picture, []).append(row)
    return found


def _copies(these: _Shown, those: _Shown) -> list[tuple[list[int], list[int]]]:
    """The rows of each picture of ``these`` that ``those`` hold a copy of, and the rows of that copy."""
    from scipy.spatial import cKDTree

    distances, nearest = cKDTree(_points(those)).query(
        _points(these), p=np.inf, distance_upper_bound=MOST_DIFFERENCE + 0.5
    )
    rows, copies = list(these.values()), list(those.values())
    return [(rows[i], copies[nearest[i]]) for i in np.flatnonzero(np.isfinite(distances))]


def _points(shown: _Shown) -> npt.NDArray[np.float64]:
    cells = np.frombuffer(b"".join(shown), np.uint8).reshape(len(shown), -1)
    return cells.astype(np.float64)
