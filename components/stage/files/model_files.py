"""What every model folder has: a checksum of each of its files, and weights that are numbers.

A flipped byte in safetensors is a weight like any other, so nothing but a checksum shows it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.stage.resume import sha256_file

if TYPE_CHECKING:
    from torch import Tensor

CHECKSUMS = "checksums.json"
CARD = "README.md"  # the registry's model card, written after training


def write_checksums(folder: Path) -> None:
    """Write ``checksums.json``: the SHA-256 of each file that lies in ``folder`` itself."""
    found = {name: sha256_file(folder / name) for name in _names(folder)}
    (folder / CHECKSUMS).write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()} - {CHECKSUMS, CARD}


def check_files(folder: Path) -> None:
    """Hold a folder's files against its checksums; one without them, as a model of others, passes.

    Raises:
        ValueError: a file is another than was saved, is gone, or has come; a phrase that names it.
    """
    if not (folder / CHECKSUMS).is_file():
        return
    wanted = read_json(folder / CHECKSUMS)
    found = _names(folder)
    if differs := sorted(found ^ set(wanted)):
        raise ValueError(f"{CHECKSUMS} names other files than there are: {', '.join(differs[:5])}")
    for name in sorted(found):
        if sha256_file(folder / name) != wanted[name]:
            raise ValueError(f"{name} is not the file that was saved: its SHA-256 differs from {CHECKSUMS}")


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        OSError: it cannot be read. ValueError: it is none, or is nested too deep; a phrase that names it.
    """
    try:
        loaded = json.loads(file.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{file.name} is nested too deep") from None
    if not isinstance(loaded, dict):
        raise ValueError(f"{file.name} is no JSON object")
    return loaded


def check_weights(named: Iterable[tuple[str, Tensor]]) -> None:
    """Refuse weights that are no numbers. Minus infinity may be: masks are made of it.

    Raises:
        ValueError: a tensor holds NaN or infinity; a phrase that names it.
    """
    import torch

    for name, tensor in named:
        if tensor.is_floating_point() and bool((torch.isnan(tensor) | torch.isposinf(tensor)).any()):
            raise ValueError(f"{name} holds values that are not finite")


def check_loaded(report: Mapping[str, Collection[Any]], unused: bool = False) -> None:
    """Refuse a model of which weights were drawn at random, which transformers mentions in a log alone.

    Args:
        report: of ``from_pretrained``. unused: whether there may be weights that the model has no use for.

    Raises:
        ValueError: weights are missing, of another shape, or left over; a phrase that names one.
    """
    for kind in ("missing", "mismatched", *(() if unused else ("unexpected",))):
        if names := sorted(str(name) for name in report[f"{kind}_keys"]):
            raise ValueError(f"{len(names)} weights are {kind}, such as {names[0]}")
