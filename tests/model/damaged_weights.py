"""What may happen to a file of weights so that it can still be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from components.stage.files.model_files import write_checksums


def flip_a_byte(file: Path) -> None:
    """Change one weight, as a worn disk does."""
    data = bytearray(file.read_bytes())
    data[-9] ^= 0x10
    file.write_bytes(data)


def rename_a_tensor(file: Path) -> None:
    """Save the last tensor under another name, checksums and all."""
    _saved(file, lambda state: state.update({"another." + list(state)[-1]: state.popitem()[1]}))


def make_a_weight_nan(file: Path) -> None:
    """What a diverged training would save, checksums and all."""
    _saved(
        file,
        lambda state: next(t for t in state.values() if t.is_floating_point()).view(-1)[:1].fill_(torch.nan),
    )


def _saved(file: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    with safe_open(file, framework="pt") as opened:
        state = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118
        metadata = opened.metadata()
    change(state)
    save_file(state, file, metadata)
    write_checksums(file.parent)


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "flipped byte": (flip_a_byte, "is not the file that was saved"),
    "renamed tensor": (rename_a_tensor, "another|[Mm]issing"),
    "NaN": (make_a_weight_nan, "not finite"),
}
