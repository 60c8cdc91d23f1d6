"""A fusion network and the gate above it on disk: config.json, model.safetensors, and, where the gate knows
the types of queries, types.safetensors; nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from components.encoder.model.errors import ModelFileError
from components.encoder.model.features.query_types import QueryTypes, load_types, save_types
from components.fusion.model.errors import FusionDataError
from components.fusion.model.fuse.item_vectors import unpictured
from components.fusion.model.networks.layers import FusionNetwork, network_class
from components.fusion.model.networks.names import known_network
from components.fusion.model.params import (
    Bm25Params,
    GateParams,
    NetworkName,
    NetworkParams,
    ProductTextParams,
)
from components.fusion.model.sources.gate import SourceGate
from components.fusion.model.towers.towers import Items
from components.stage.files.model_files import (
    CHECKSUMS,
    check_files,
    check_weights,
    read_json,
    write_checksums,
)

CONFIG, WEIGHTS, TYPES = "config.json", "model.safetensors", "types.safetensors"
FILES = {CONFIG, WEIGHTS}
FORMAT = 4
NETWORK, GATE = "network.", "gate."  # before the names of their weights


@dataclass(frozen=True)
class TrainedNetwork:
    """A network with all that its folder says of it."""

    name: NetworkName
    network: FusionNetwork
    sizes: NetworkParams
    text: ProductTextParams  # how product texts were written
    towers_sha256: str  # of the towers that it was trained on
    bm25: Bm25Params = field(default_factory=Bm25Params)  # of the lexical source
    pictures: bool = True  # false: it was never shown one
    gate: SourceGate | None = None  # None: products are ranked by the vectors alone
    types: QueryTypes | None = None  # what tells a query's type, for a gate that has this source
    validation: float | None = None  # nDCG@10 on validation, a gate's by cross-validation; None: not measured

    def shown(self, items: Items) -> Items:
        """Products as the network may see them."""
        return items if self.pictures else unpictured(items)


def save_network(trained: TrainedNetwork, folder: Path) -> None:
    """Write the network's folder; ``folder`` must not exist."""
    folder.mkdir(parents=True)
    gate = trained.gate
    told = None
    if gate is not None:
        told = {"sources": list(gate.sources), "depth": gate.depth, "hidden": gate.first.out_features}
    config = {
        "format": FORMAT,
        "network": trained.name,
        "dimension": trained.network.dimension,
        "sizes": trained.sizes.model_dump(mode="json"),
        "text": trained.text.model_dump(mode="json"),
        "bm25": trained.bm25.model_dump(mode="json"),
        "pictures": trained.pictures,
        "gate": told,
        "validation_ndcg_at_10": trained.validation,
        "towers_sha256": trained.towers_sha256,
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    state = {NETWORK + key: value for key, value in trained.network.state_dict().items()}
    if gate is not None:
        state |= {GATE + key: value for key, value in gate.state_dict().items()}
    if trained.types is not None:
        save_types(trained.types, folder / TYPES)
    save_file({key: value.cpu().contiguous() for key, value in state.items()}, folder / WEIGHTS)
    write_checksums(folder)


def load_network(folder: Path, towers_sha256: str | None = None) -> TrainedNetwork:
    """Read a network's folder, in evaluation mode.

    Args:
        towers_sha256: of the towers that will feed it; another is refused.

    Raises:
        FusionDataError: a file is missing, not allowed or cut, or the towers are others.
    """
    if not folder.is_dir():
        raise FusionDataError(f"There is no fusion network at {folder}; run the stage fuse@{folder.name}.")
    if wrong := ({path.name for path in folder.iterdir()} - {TYPES, CHECKSUMS}) ^ FILES:
        raise FusionDataError(
            f"{folder} must hold exactly {CONFIG}, {WEIGHTS} and, for some gates, {TYPES}; differs in: "
            f"{', '.join(sorted(wrong))}."
        )
    try:
        trained = _read(folder)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, ModelFileError) as error:
        raise FusionDataError(f"{folder} cannot be loaded ({error}); run its stage again.") from None
    if towers_sha256 not in (None, trained.towers_sha256):
        raise FusionDataError(
            f"{folder} was trained on other towers than those given; run the stage fuse@{folder.name} again."
        )
    return trained


def _read(folder: Path) -> TrainedNetwork:
    config = read_json(folder / CONFIG)
    if config["format"] != FORMAT:
        raise ValueError(f"it has format {config['format']}; this version reads {FORMAT}")
    name, sizes = known_network(config["network"]), NetworkParams.model_validate(config["sizes"])
    check_files(folder)
    state = load_file(folder / WEIGHTS)
    check_weights(state.items())
    network = network_class(name)(config["dimension"], sizes)
    network.load_state_dict(_part(state, NETWORK))
    gate = None
    if config["gate"] is not None:
        params = GateParams.model_validate(config["gate"])
        gate = SourceGate(config["dimension"], params.sources, params.depth, params.hidden)
        gate.load_state_dict(_part(state, GATE))
        gate.eval()
    typed = gate is not None and "type" in gate.sources
    return TrainedNetwork(
        name,
        network.eval(),
        sizes,
        ProductTextParams.model_validate(config["text"]),
        config["towers_sha256"],
        bm25=Bm25Params.model_validate(config["bm25"]),
        pictures=bool(config["pictures"]),
        gate=gate,
        types=load_types(folder / TYPES) if typed else None,
        validation=config["validation_ndcg_at_10"],
    )


def _part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
