"""A fusion network on disk: config.json and model.safetensors, and nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from components.fusion.model.errors import NetworkFileError
from components.fusion.model.networks.networks import NETWORKS, FusionNetwork
from components.fusion.model.params import FusionParams, NetworkParams, ProductTextParams

FILES = ("config.json", "model.safetensors")
FORMAT = 1


@dataclass(frozen=True)
class LoadedNetwork:
    """A network ready to use, and which towers it was made for."""

    name: str
    network: FusionNetwork
    text: ProductTextParams  # how product texts were written
    towers_sha256: str


def save_network(
    name: str,
    network: FusionNetwork,
    params: NetworkParams,
    fusion: FusionParams,
    towers_sha256: str,
    folder: Path,
) -> None:
    """Write the network's folder; ``folder`` must not exist."""
    folder.mkdir(parents=True)
    config = {
        "format": FORMAT,
        "network": name,
        "dimension": network.dimension,
        "sizes": params.model_dump(mode="json"),
        "text": fusion.text.model_dump(mode="json"),
        "towers_sha256": towers_sha256,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    state = {key: value.cpu().contiguous() for key, value in network.state_dict().items()}
    save_file(state, folder / "model.safetensors")


def load_network(folder: Path, towers_sha256: str | None = None) -> LoadedNetwork:
    """Read a network's folder, in evaluation mode.

    Args:
        towers_sha256: of the towers that will feed it; another is refused.

    Raises:
        NetworkFileError: a file is missing, not allowed or cut, or the towers are others.
    """
    if not folder.is_dir():
        raise NetworkFileError(f"There is no fusion network at {folder}; run the stage fuse@{folder.name}.")
    names = {path.name for path in folder.iterdir()}
    if names != set(FILES):
        wrong = ", ".join(sorted(names ^ set(FILES)))
        raise NetworkFileError(f"{folder} must hold exactly {', '.join(FILES)}; differs in: {wrong}.")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if config["format"] != FORMAT:
            raise NetworkFileError(f"{folder} has format {config['format']}; this version reads {FORMAT}.")
        network = NETWORKS[config["network"]](config["dimension"], NetworkParams(**config["sizes"]))
        network.load_state_dict(load_file(folder / "model.safetensors"))
        text = ProductTextParams.model_validate(config["text"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise NetworkFileError(f"{folder} cannot be loaded ({error}); run its stage again.") from None
    if towers_sha256 is not None and config["towers_sha256"] != towers_sha256:
        raise NetworkFileError(
            f"{folder} was trained on other towers than those given; run the stage fuse@{folder.name} again."
        )
    return LoadedNetwork(config["network"], network.eval(), text, config["towers_sha256"])
