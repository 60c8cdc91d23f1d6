"""AdamW over what is trained, and its learning rate by step."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from components.training.plan import Optimisation


def adamw(module: nn.Module, params: Optimisation) -> torch.optim.AdamW:
    """AdamW over what is trained; gains, biases, positions and the temperature are not decayed."""
    decayed: list[Tensor] = []
    free: list[Tensor] = []
    for name, parameter in module.named_parameters():
        plain = parameter.ndim >= 2 and "positional_embedding" not in name and "class_embedding" not in name
        if parameter.requires_grad:
            (decayed if plain else free).append(parameter)
    groups = [{"params": decayed, "weight_decay": params.weight_decay}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(
        [g for g in groups if g["params"]], lr=params.learning_rate, betas=params.betas, eps=1e-6, fused=True
    )


def warmup_cosine(optimizer: torch.optim.Optimizer, warmup_share: float, steps: int) -> SequentialLR:
    """Linear warm-up to the optimizer's learning rate, then a cosine to zero after the last step."""
    warmup = max(1, round(warmup_share * steps))
    rising = LinearLR(optimizer, start_factor=1 / warmup, total_iters=warmup - 1)
    falling = CosineAnnealingLR(optimizer, T_max=max(1, steps - warmup))
    return SequentialLR(optimizer, [rising, falling], milestones=[warmup])
