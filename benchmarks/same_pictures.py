"""Which copies of pictures the catalogue's gate finds, and what it takes for copies that are none.

``python -m benchmarks.same_pictures FOLDER [--count 2000] [--changed 120]``

FOLDER is a catalogue (``data/checked``) or holds JPEG files. ``--changed`` of the pictures are made smaller,
saved again and dyed in another hue, each apart; for each change the table says how many are still within
``MOST_DIFFERENCE`` of the original. A dyed picture should not be, but where it has no colour to change. The
last line counts pairs among ``--count`` pictures as they are.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from components.catalog.format.params import ImageLimits
from components.catalog.format.shards import Catalogue
from components.quality.catalogue.same_pictures import MOST_DIFFERENCE, fingerprint


def saved(image: Image.Image, form: str = "JPEG", quality: int = 85) -> bytes:
    """A picture as a file."""
    buffer = io.BytesIO()
    image.save(buffer, form, quality=quality)
    return buffer.getvalue()


def smaller(image: Image.Image, parts: int, form: str = "JPEG") -> bytes:
    """A picture at a fraction of its width and height."""
    size = max(16, image.width // parts), max(16, image.height // parts)
    return saved(image.resize(size, Image.Resampling.LANCZOS), form)


def dyed(image: Image.Image, hue: int) -> bytes:
    """A picture whose hues are turned by so many of 256."""
    cells = np.asarray(image.convert("HSV")).copy()
    cells[..., 0] += np.uint8(hue)
    return saved(Image.fromarray(cells, "HSV").convert("RGB"), quality=90)


CHANGES: dict[str, Callable[[Image.Image], bytes]] = {
    "half the size, JPEG": partial(smaller, parts=2),
    "half the size, PNG": partial(smaller, parts=2, form="PNG"),
    "a quarter of the size, JPEG": partial(smaller, parts=4),
    "saved as JPEG of quality 60": partial(saved, quality=60),
    "saved as WebP": partial(saved, form="WEBP", quality=80),
    "hue turned by 20 of 256": partial(dyed, hue=20),
    "hue turned by 64 of 256": partial(dyed, hue=64),
}


def pictures(folder: Path, count: int) -> list[bytes]:
    """Encoded pictures, drawn at random."""
    draw = np.random.default_rng(0)
    if (folder / "products").is_dir():
        catalogue = Catalogue(folder)
        ids = catalogue.table(["product_id"])["product_id"].to_pylist()
        chosen = draw.permutation(len(ids))[:count]
        return [data for _, data in catalogue.images({ids[i] for i in chosen})]
    files = sorted(folder.rglob("*.jpg"))
    return [files[i].read_bytes() for i in sorted(draw.permutation(len(files))[:count])]


def differences(
    prints: Sequence[bytes], others: Sequence[bytes]
) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    """By how much the worst cell of each pair differs."""
    a, b = (np.frombuffer(b"".join(each), np.uint8).reshape(len(each), -1) for each in (prints, others))
    return np.asarray(np.abs(a.astype(np.int16) - b).max(axis=1))


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--changed", type=int, default=120)
    arguments = parser.parse_args(argv)
    found = pictures(arguments.folder, arguments.count)
    prints = [fingerprint(data, ImageLimits()) for data in found]
    some = range(0, len(found), max(1, len(found) // arguments.changed))
    head = f"| change, of {len(some)} pictures | the same picture | worst cell: median, 95%, most |"
    print(f"{head}\n|---|---|---|")
    for name, change in CHANGES.items():
        changed = [change(Image.open(io.BytesIO(found[i])).convert("RGB")) for i in some]
        worst = differences([prints[i] for i in some], [fingerprint(c, ImageLimits()) for c in changed])
        middle, high = np.percentile(worst, [50, 95])
        print(f"| {name} | {(worst <= MOST_DIFFERENCE).sum()} | {middle:.0f}, {high:.0f}, {worst.max()} |")
    close = sum(
        int((differences(prints[i + 1 :], [prints[i]] * (len(prints) - i - 1)) <= MOST_DIFFERENCE).sum())
        for i in range(len(prints) - 1)
    )
    print(f"\n{close} of {len(prints) * (len(prints) - 1) // 2:,} pairs as they are pass for copies.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
