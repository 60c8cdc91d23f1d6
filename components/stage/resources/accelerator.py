"""Where this process computes with torch, and with how many bits."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from components.stage.params import Precision


def device() -> torch.device:
    """The accelerator if there is one, else the processor."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@cache
def multiplies_bf16(where: str) -> bool:
    """Whether a kind of device (``cpu``, ``cuda``) has fast products of bfloat16.

    A processor without such kernels takes 10 (convolutions) to 100 times (matrices) as long as in float32.
    """
    import torch

    if where == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if where == "cpu":
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return True


def computed_in(precision: str, where: torch.device) -> Precision:
    """What a machine computes in where ``precision`` is asked for: ``fp32`` if its bfloat16 is slower."""
    return "bf16" if precision == "bf16" and multiplies_bf16(where.type) else "fp32"


def autocast(where: torch.device, precision: str) -> torch.autocast:
    """The context of a forward pass: bfloat16 where torch holds it safe, or float32 all over.

    Args:
        precision: as the parameters ask for; :func:`computed_in` says what becomes of it.
    """
    import torch

    return torch.autocast(where.type, torch.bfloat16, enabled=computed_in(precision, where) == "bf16")
