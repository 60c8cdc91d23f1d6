"""A network by its name."""

from __future__ import annotations

from importlib import import_module

import torch

from components.fusion.model.networks.layers import FusionNetwork
from components.fusion.model.params import NetworkName, NetworkParams


def network_class(name: NetworkName) -> type[FusionNetwork]:
    """The class of a network: ``gated_sum`` is ``GatedSum`` of the module ``gated_sum``."""
    module = import_module(f"components.fusion.model.networks.{name}")
    found: type[FusionNetwork] = getattr(module, name.title().replace("_", ""))
    return found


def create_network(name: NetworkName, dimension: int, params: NetworkParams, seed: int) -> FusionNetwork:
    """A network with weights drawn from ``seed``.

    Raises:
        FusionConfigurationError: its sizes do not fit the towers.
    """
    torch.manual_seed(seed)
    return network_class(name)(dimension, params)
