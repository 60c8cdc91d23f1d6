"""Pictures for MLflow's image grid, as files named the way its client's ``log_image`` names them.

``log_image`` gives each picture a name of chance, so that writing a run again would show it twice. Under a
name made from the run's own they are the same files, and a run is completed after a kill as often as needed.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

FOLDER = "images"
TAG = {"mlflow.loggedImages": "True"}  # by which the pages know that a run has pictures
KEY_LENGTH = 60
GRID_PX = 256  # longest side of the small copy that the grid shows


def key_of(text: str) -> str:
    """A name of a picture that MLflow takes; another text has another name."""
    plain = " ".join(re.sub(r"[^A-Za-z0-9_\-. ]+", " ", text).split())[:KEY_LENGTH].strip()
    if plain == text:
        return plain
    return f"{plain} {hashlib.sha256(text.encode()).hexdigest()[:4]}".strip()


def lay_out_images(folder: Path, own: str, timestamp: int, pictures: Mapping[str, Image]) -> None:
    """Write each picture, and its small copy, below ``folder``; ``own`` says whose they are."""
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    for text, picture in pictures.items():
        key = key_of(text)
        name = f"{key}+step+0+timestamp+{timestamp}+{uuid.uuid5(uuid.NAMESPACE_URL, f'{own}:{key}')}"
        picture.save(folder / FOLDER / f"{name}.png", compress_level=3)
        small = picture.copy()
        small.thumbnail((GRID_PX, GRID_PX))
        small.save(folder / FOLDER / f"{name}+compressed.webp", quality=85, method=2)
