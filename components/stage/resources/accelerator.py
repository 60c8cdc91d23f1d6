"""Where this process computes with torch, and with how many bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def device() -> torch.device:
    """The accelerator if there is one, else the processor."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast(where: torch.device, precision: str) -> torch.autocast:
    """The context of a forward pass: ``bf16`` where torch holds it safe, or ``fp32`` all over."""
    import torch

    return torch.autocast(where.type, torch.bfloat16, enabled=precision == "bf16")
