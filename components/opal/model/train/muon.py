"""AdamW, with Muon for the matrices of a language model that is trained from scratch.

Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) replaces a matrix's momentum by the nearest
orthogonal matrix, so that directions that are rarely needed are learned as fast as frequent ones: here the
attributes of one product type in thirty. Its steps are scaled to the size of AdamW's (Liu et al. 2025, arXiv
2502.16982), so both share one learning rate. Embeddings, norms and biases stay with AdamW, as Muon asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Muon

EPSILON = 1e-8
MOMENTUM = 0.95
RMS_OF_ADAMW = 0.2  # the size of AdamW's updates, which Muon's are scaled to
EMBEDDINGS = ("embed", "lm_head")  # parts of the names of matrices that are tables


def split(parameters: Iterable[tuple[str, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    """Trainable parameters as (matrices for Muon, the rest)."""
    named = [(name, p) for name, p in parameters if p.requires_grad]
    matrices = [p for name, p in named if p.ndim == 2 and not any(part in name for part in EMBEDDINGS)]
    mine = {id(p) for p in matrices}
    return matrices, [p for _, p in named if id(p) not in mine]


class BatchedMuon(Muon):
    """torch's Muon; matrices of one shape are made orthogonal together, which takes half the time of a step.

    The update is torch's own, with the orthogonal matrices' rounding that of a batched product (tested).
    """

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step of every matrix that has a gradient."""
        loss = closure() if closure else None
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    alike.setdefault(matrix.shape, []).append(matrix)
            for matrices in alike.values():
                self._move(matrices, group)
        return loss

    def _move(self, matrices: Sequence[Tensor], group: dict[str, Any]) -> None:
        """Momentum (Nesterov's), orthogonal updates and decay of matrices of one shape."""
        wanted = []
        for matrix in matrices:
            momentum = self.state[matrix].setdefault("momentum_buffer", torch.zeros_like(matrix.grad))
            momentum.lerp_(matrix.grad, 1 - group["momentum"])
            wanted.append(matrix.grad.lerp(momentum, group["momentum"]))
        updates = orthogonal(torch.stack(wanted), group["ns_coefficients"], group["ns_steps"], group["eps"])
        rate = group["lr"] * RMS_OF_ADAMW * max(matrices[0].shape) ** 0.5
        for matrix, update in zip(matrices, updates, strict=True):
            matrix.mul_(1 - group["lr"] * group["weight_decay"])
            matrix.add_(update, alpha=-rate)


def orthogonal(
    matrices: Tensor, coefficients: tuple[float, float, float], steps: int, epsilon: float
) -> Tensor:
    """The nearest (semi-)orthogonal matrices of ``[N, rows, columns]``, by Newton and Schulz in bf16."""
    a, b, c = coefficients
    tall = matrices.shape[1] > matrices.shape[2]
    found = (matrices.mT if tall else matrices).to(torch.bfloat16).contiguous()
    found = found / found.norm(dim=(1, 2), keepdim=True).clamp_min(epsilon)
    for _ in range(steps):
        gram = torch.bmm(found, found.mT)
        gram = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        found = torch.baddbmm(found, gram, found, beta=a)
    return found.mT if tall else found


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
            self.parts.append(BatchedMuon(matrices, momentum=MOMENTUM, **shared))
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
