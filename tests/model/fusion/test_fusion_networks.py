"""Fusion networks: what they start as, what they do with missing modalities, and their folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from components.fusion.model.errors import FusionConfigurationError, FusionDataError
from components.fusion.model.fuse.fusing import dropped
from components.fusion.model.networks.files import TrainedNetwork, load_network, save_network
from components.fusion.model.networks.layers import create_network, unit
from components.fusion.model.networks.names import HEADLINE, NETWORKS
from components.fusion.model.params import FusionParams, ModalityDropout, NetworkParams
from tests.model.damaged_weights import DAMAGE

SIZES = NetworkParams(hidden=8, heads=2, bilinear_rank=4, dropout=0.0)


def inputs(count: int = 6, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two unit vectors per product; the second lacks its picture, the third its text, the fourth both."""
    generator = torch.Generator().manual_seed(seed)
    text, image = (unit(torch.randn(count, 16, generator=generator)) for _ in range(2))
    has_text, has_image = torch.ones(count, dtype=torch.bool), torch.ones(count, dtype=torch.bool)
    has_image[[1, 3]] = False
    has_text[[2, 3]] = False
    return text * has_text[:, None], image * has_image[:, None], has_text, has_image


def trained(name: Any) -> Any:
    """A network with no zero weight left in it."""
    network = create_network(name, 16, SIZES, seed=1).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return network


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_starts_as_the_average(name: Any) -> None:
    text, image, has_text, has_image = inputs()
    found = create_network(name, 16, SIZES, seed=1).eval()(text, image, has_text, has_image)
    assert torch.allclose(found, unit(text + image), atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_products_without_text_or_picture_get_finite_vectors(name: Any) -> None:
    network = trained(name)
    text, image, has_text, has_image = inputs()
    found = network(text, image, has_text, has_image)
    assert torch.isfinite(found).all()
    assert torch.allclose(found.norm(dim=1), torch.tensor([1.0, 1, 1, 0, 1, 1]), atol=1e-5)
    found.sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in network.parameters())


@pytest.mark.parametrize("name", ["moe", "moe_bilinear"])
def test_gates_are_shares_and_silent_experts_have_none(name: Any) -> None:
    text, image, has_text, has_image = inputs()
    gates = trained(name).gates(text, image, has_text, has_image)
    assert torch.allclose(gates.sum(dim=1), torch.ones(6))
    assert gates[1].tolist() == pytest.approx([1, 0, 0]) and gates[2].tolist() == pytest.approx([0, 1, 0])
    assert create_network("concat_mlp", 16, SIZES, 1).gates(text, image, has_text, has_image) is None


def test_a_product_does_not_depend_on_its_neighbours() -> None:
    arguments = inputs()
    for name in NETWORKS:
        network = trained(name)
        whole = network(*arguments)
        alone = torch.cat([network(*(a[i : i + 1] for a in arguments)) for i in range(6)])
        assert torch.allclose(whole, alone, atol=1e-5)


def test_modality_dropout_leaves_one_modality() -> None:
    there = torch.ones(2000, dtype=torch.bool)
    params = ModalityDropout(text=0.3, image=0.5)
    has_text, has_image = dropped(there, there, params, np.random.default_rng(0))
    assert (has_text | has_image).all()
    assert 1 - has_text.float().mean().item() == pytest.approx(0.3, abs=0.04)
    assert 1 - has_image.float().mean().item() == pytest.approx(0.5, abs=0.04)
    only_text, none = dropped(there, ~there, ModalityDropout(text=1.0, image=0.0), np.random.default_rng(0))
    assert only_text.all() and not none.any(), "the last modality is never dropped"
    with pytest.raises(ValueError, match="keeps one"):
        ModalityDropout(text=0.6, image=0.5)


@pytest.fixture
def folder(blocks: dict[str, Any], tmp_path: Path) -> Path:
    fusion = FusionParams.model_validate(blocks["fusion"])
    network = TrainedNetwork("moe_bilinear", trained("moe_bilinear"), SIZES, fusion.text, "towers")
    save_network(network, tmp_path / "network")
    return tmp_path / "network"


def test_a_saved_network_computes_the_same(folder: Path) -> None:
    found = load_network(folder, "towers")
    assert torch.equal(found.network(*inputs()), trained("moe_bilinear")(*inputs()))


def test_a_broken_or_foreign_folder_is_refused(folder: Path) -> None:
    with pytest.raises(FusionDataError, match="other towers"):
        load_network(folder, "others")
    with pytest.raises(FusionDataError, match="no fusion network"):
        load_network(folder / "nowhere")
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(FusionDataError, match="cannot be loaded"):
        load_network(folder)
    (folder / "extra.pkl").write_bytes(b"")
    with pytest.raises(FusionDataError, match="exactly"):
        load_network(folder)


@pytest.mark.parametrize("how", DAMAGE)
def test_weights_that_are_not_those_that_were_saved_are_refused(folder: Path, how: str) -> None:
    damage, told = DAMAGE[how]
    damage(folder / "model.safetensors")
    with pytest.raises(FusionDataError, match=told):
        load_network(folder)


def test_the_graph_trains_the_networks_of_the_headline() -> None:
    graph = yaml.safe_load((Path(__file__).parents[3] / "dvc.yaml").read_text())
    assert graph["stages"]["fuse"]["matrix"]["network"] == HEADLINE


def test_heads_must_divide_the_dimension() -> None:
    with pytest.raises(FusionConfigurationError, match="heads 5"):
        create_network("cross_attention", 16, SIZES.model_copy(update={"heads": 5}), 1)
