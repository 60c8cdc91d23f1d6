"""What a training run keeps so that it can go on: its optimizer, its curves, and their state on disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from components.stage.publish import published

STATE_FILE = "state.pt"


@dataclass
class History:
    """What the run looked like: one entry per step, and what it waited for."""

    steps: list[dict[str, float]] = field(default_factory=list)
    validation: list[dict[str, float]] = field(default_factory=list)
    data_seconds: float = 0.0
    train_seconds: float = 0.0
    resumed_from: int = 0


def adamw(
    module: nn.Module, learning_rate: float, weight_decay: float, betas: tuple[float, float]
) -> torch.optim.AdamW:
    """AdamW over what is trained; gains, biases, positions and the temperature are not decayed."""
    decayed: list[Tensor] = []
    free: list[Tensor] = []
    for name, parameter in module.named_parameters():
        plain = parameter.ndim >= 2 and "positional_embedding" not in name and "class_embedding" not in name
        if parameter.requires_grad:
            (decayed if plain else free).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(
        [g for g in groups if g["params"]], lr=learning_rate, betas=betas, eps=1e-6, fused=True
    )


def save_state(
    folder: Path | None, step: int, module: nn.Module, optimizer: torch.optim.Optimizer, history: History
) -> None:
    """Write the resume state; a kill leaves the old state or the new one. None keeps nothing."""
    if folder is None:
        return
    state = {
        "step": step,
        "model": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "steps": history.steps,
        "validation": history.validation,
    }
    with published(folder / STATE_FILE) as temporary:
        torch.save(state, temporary)


def restore_state(
    folder: Path | None, module: nn.Module, optimizer: torch.optim.Optimizer, history: History
) -> int | None:
    """Put back what ``save_state`` wrote, and return the step to go on from; None where nothing was kept."""
    if folder is None or not (folder / STATE_FILE).exists():
        return None
    device = next(module.parameters()).device
    state: dict[str, Any] = torch.load(
        folder / STATE_FILE, map_location=device, weights_only=True, mmap=False
    )
    module.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    history.steps, history.validation = state["steps"], state["validation"]
    history.resumed_from = state["step"]
    return history.resumed_from
