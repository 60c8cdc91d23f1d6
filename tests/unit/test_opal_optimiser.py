"""Muon with AdamW: torch's own two, as one optimiser with one state."""

from __future__ import annotations

import copy

import pytest
import torch

from components.opal.model.train import muon
from components.opal.model.train.muon import MuonAdamW, split


def network() -> torch.nn.ModuleDict:
    torch.manual_seed(0)
    parts = {"embed": torch.nn.Embedding(5, 4), "proj": torch.nn.Linear(4, 3)}
    return torch.nn.ModuleDict(parts)


def steps(net: torch.nn.ModuleDict, optimiser: torch.optim.Optimizer, first: int, count: int) -> None:
    for step in range(first, first + count):
        optimiser.zero_grad()
        generator = torch.Generator().manual_seed(step)
        chosen = torch.randint(0, 5, (6,), generator=generator)
        net["proj"](net["embed"](chosen)).square().sum().backward()
        optimiser.step()


def optimiser(net: torch.nn.ModuleDict) -> MuonAdamW:
    return MuonAdamW(net.named_parameters(), 0.01, (0.9, 0.98), 0.1)


def test_it_moves_as_torchs_own_two_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(muon, "multiplies_bf16", lambda where: True)
    ours, theirs = network(), network()
    steps(ours, optimiser(ours), 0, 4)
    matrices, rest = split(theirs.named_parameters())
    assert [p.shape for p in matrices] == [(3, 4)]
    both = (
        torch.optim.Muon(matrices, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=0.01, betas=(0.9, 0.98), weight_decay=0.1),
    )
    for step in range(4):
        for each in both:
            each.zero_grad()
        chosen = torch.randint(0, 5, (6,), generator=torch.Generator().manual_seed(step))
        theirs["proj"](theirs["embed"](chosen)).square().sum().backward()
        for each in both:
            each.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("shape", [(24, 16), (16, 24)])
def test_in_float32_muon_moves_as_torchs_does_but_for_rounding(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(shape, generator=generator)
    moved = []
    for kind in (torch.optim.Muon, muon.Float32Muon):
        matrix = torch.nn.Parameter(start.clone())
        optimiser = kind([matrix], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
        for step in range(5):
            matrix.grad = torch.randn(shape, generator=torch.Generator().manual_seed(step))
            optimiser.step()
        moved.append(matrix.detach() - start)
    assert (moved[0] - moved[1]).norm() < 0.02 * moved[0].norm()


def test_a_schedule_and_a_saved_state_reach_both_parts() -> None:
    whole, cut = network(), network()
    first = optimiser(whole)
    steps(whole, first, 0, 6)
    second = optimiser(cut)
    steps(cut, second, 0, 3)
    state, weights = copy.deepcopy(second.state_dict()), copy.deepcopy(cut.state_dict())
    resumed = network()
    resumed.load_state_dict(weights)
    third = optimiser(resumed)
    third.load_state_dict(state)
    steps(resumed, third, 3, 3)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    for group in third.param_groups:
        group["lr"] = group["weight_decay"] = 0.0
    before = [p.clone() for p in resumed.parameters()]
    steps(resumed, third, 6, 1)
    assert all(torch.equal(a, b) for a, b in zip(before, resumed.parameters(), strict=True))
