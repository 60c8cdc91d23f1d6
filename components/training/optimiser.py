"""AdamW over what is trained, and its learning rate by step."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from components.training.plan import Optimisation


def adamw(
    module: nn.Module, params: Optimisation, rates: Mapping[str, float] | None = None
) -> torch.optim.AdamW:
    """AdamW over what is trained; gains, biases, positions and the temperature are not decayed.

    Args:
        rates: learning rates of parts, by the beginning of their parameters' names; others have ``params``'s.
    """
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in module.named_parameters():
        plain = parameter.ndim >= 2 and "positional_embedding" not in name and "class_embedding" not in name
        rate = next((r for part, r in (rates or {}).items() if name.startswith(part)), params.learning_rate)
        if parameter.requires_grad:
            groups.setdefault((rate, params.weight_decay if plain else 0.0), []).append(parameter)
    return torch.optim.AdamW(
        # the highest rate first: it is the one that curves show; of one rate, what is decayed
        [{"params": groups[g], "lr": g[0], "weight_decay": g[1]} for g in sorted(groups, reverse=True)],
        betas=params.betas,
        eps=1e-6,
        fused=True,
    )


def warmup_cosine(optimizer: torch.optim.Optimizer, warmup_share: float, steps: int) -> SequentialLR:
    """Linear warm-up to the optimizer's learning rate, then a cosine to zero after the last step."""
    warmup = max(1, round(warmup_share * steps))
    rising = LinearLR(optimizer, start_factor=1 / warmup, total_iters=warmup - 1)
    falling = CosineAnnealingLR(optimizer, T_max=max(1, steps - warmup))
    return SequentialLR(optimizer, [rising, falling], milestones=[warmup])
