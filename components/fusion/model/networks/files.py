"""A fusion network on disk: config.json and model.safetensors, and nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from components.fusion.model.errors import NetworkFileError
from components.fusion.model.networks.create import network_class
from components.fusion.model.networks.layers import FusionNetwork
from components.fusion.model.networks.names import known_network
from components.fusion.model.params import NetworkName, NetworkParams, ProductTextParams

CONFIG, WEIGHTS = "config.json", "model.safetensors"
FILES = {CONFIG, WEIGHTS}
FORMAT = 1


@dataclass(frozen=True)
class TrainedNetwork:
    """A network with all that its folder says of it."""

    name: NetworkName
    network: FusionNetwork
    sizes: NetworkParams
    text: ProductTextParams  # how product texts were written
    towers_sha256: str  # of the towers that it was trained on


def save_network(trained: TrainedNetwork, folder: Path) -> None:
    """Write the network's folder; ``folder`` must not exist."""
    folder.mkdir(parents=True)
    config = {
        "format": FORMAT,
        "network": trained.name,
        "dimension": trained.network.dimension,
        "sizes": trained.sizes.model_dump(mode="json"),
        "text": trained.text.model_dump(mode="json"),
        "towers_sha256": trained.towers_sha256,
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    state = {key: value.cpu().contiguous() for key, value in trained.network.state_dict().items()}
    save_file(state, folder / WEIGHTS)


def load_network(folder: Path, towers_sha256: str | None = None) -> TrainedNetwork:
    """Read a network's folder, in evaluation mode.

    Args:
        towers_sha256: of the towers that will feed it; another is refused.

    Raises:
        NetworkFileError: a file is missing, not allowed or cut, or the towers are others.
    """
    if not folder.is_dir():
        raise NetworkFileError(f"There is no fusion network at {folder}; run the stage fuse@{folder.name}.")
    if wrong := {path.name for path in folder.iterdir()} ^ FILES:
        raise NetworkFileError(
            f"{folder} must hold exactly {CONFIG}, {WEIGHTS}; differs in: {', '.join(sorted(wrong))}."
        )
    try:
        trained = _read(folder)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise NetworkFileError(f"{folder} cannot be loaded ({error}); run its stage again.") from None
    if towers_sha256 not in (None, trained.towers_sha256):
        raise NetworkFileError(
            f"{folder} was trained on other towers than those given; run the stage fuse@{folder.name} again."
        )
    return trained


def _read(folder: Path) -> TrainedNetwork:
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    if config["format"] != FORMAT:
        raise ValueError(f"it has format {config['format']}; this version reads {FORMAT}")
    name, sizes = known_network(config["network"]), NetworkParams.model_validate(config["sizes"])
    network = network_class(name)(config["dimension"], sizes)
    network.load_state_dict(load_file(folder / WEIGHTS))
    text = ProductTextParams.model_validate(config["text"])
    return TrainedNetwork(name, network.eval(), sizes, text, config["towers_sha256"])
