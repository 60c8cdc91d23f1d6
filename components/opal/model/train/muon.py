"""AdamW, with Muon for the matrices of a language model that is trained from scratch.

Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) replaces a matrix's momentum by the nearest
orthogonal matrix, so that directions that are rarely needed are learned as fast as frequent ones: here the
attributes of one product type in thirty. Its steps are scaled to the size of AdamW's (Liu et al. 2025, arXiv
2502.16982), so both share one learning rate. Embeddings, norms and biases stay with AdamW, as Muon asks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Muon

from components.stage.resources.accelerator import multiplies_bf16

EPSILON = 1e-8
MOMENTUM = 0.95
EMBEDDINGS = ("embed", "lm_head")  # parts of the names of matrices that are tables


def split(parameters: Iterable[tuple[str, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    """Trainable parameters as (matrices for Muon, the rest)."""
    named = [(name, p) for name, p in parameters if p.requires_grad]
    matrices = [p for name, p in named if p.ndim == 2 and not any(part in name for part in EMBEDDINGS)]
    mine = {id(p) for p in matrices}
    return matrices, [p for _, p in named if id(p) not in mine]


class Float32Muon(Muon):
    """torch's Muon with its products in float32, for a machine whose products of bfloat16 are slow.

    torch orthogonalises in bfloat16 whatever the matrix is of; on such a processor that took nine tenths of
    a step. As ``match_rms_adamw`` scales it, with Nesterov's momentum.
    """

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """One step of every matrix that has a gradient."""
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                momentum = state.setdefault("momentum_buffer", torch.zeros_like(matrix.grad))
                momentum.lerp_(matrix.grad, 1 - group["momentum"])
                update = _orthogonal(matrix.grad.lerp(momentum, group["momentum"]), group)
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(update, alpha=-0.2 * math.sqrt(max(matrix.shape)) * group["lr"])


def _orthogonal(matrix: Tensor, group: dict[str, Any]) -> Tensor:
    """The nearest orthogonal matrix, nearly: the Newton-Schulz iteration of Muon's authors.

    Each step multiplies by a polynomial of the Gram matrix, so the steps are taken between small squares and
    the matrix itself, ten times as wide as high where heads are read, is multiplied once.
    """
    a, b, c = group["ns_coefficients"]
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp(min=group["eps"])
    gram = wide @ wide.T
    product = one = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    for _ in range(group["ns_steps"]):
        step = a * one + b * gram + c * gram @ gram
        product, gram = step @ product, step @ gram @ step
    wide = product @ wide
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


class MuonAdamW(torch.optim.Optimizer):
    """Muon and torch's AdamW as one optimiser, so that one schedule and one state serve both.

    Args:
        parameters: names and tensors. learning_rate, betas, weight_decay: of both (betas of AdamW).
    """

    def __init__(
        self,
        parameters: Iterable[tuple[str, Tensor]],
        learning_rate: float,
        betas: tuple[float, float],
        weight_decay: float,
    ) -> None:
        matrices, rest = split(parameters)
        shared = {"lr": learning_rate, "weight_decay": weight_decay}
        self.parts: list[torch.optim.Optimizer] = []
        if matrices:
            muon = Muon if multiplies_bf16(matrices[0].device.type) else Float32Muon
            self.parts.append(muon(matrices, momentum=MOMENTUM, adjust_lr_fn="match_rms_adamw", **shared))
        if rest:
            self.parts.append(torch.optim.AdamW(rest, betas=betas, eps=EPSILON, fused=True, **shared))
        groups = [group for part in self.parts for group in part.param_groups]
        super().__init__(groups, {})
        self._share()

    def _share(self) -> None:
        """The parts work on this optimiser's own groups and state."""
        at = 0
        for part in self.parts:
            part.param_groups = self.param_groups[at : at + len(part.param_groups)]
            at += len(part.param_groups)
            part.state = self.state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As any optimiser; the parts go on with what was loaded."""
        super().load_state_dict(state_dict)
        self._share()

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step of each part."""
        loss = closure() if closure else None
        for part in self.parts:
            part.step()
        return loss
