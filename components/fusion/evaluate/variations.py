"""A study's models: further networks on the same towers, and variations with towers of their own.

A study is a folder. A network's folder right in it stands on the root graph's towers. Any other folder in it
is a variation, a seed (its name is a number) or an ablation, with its networks and, unless it shares the root
graph's, its towers.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from components.fusion.evaluate.held_out import Measurement, Settings, open_towers, read_split
from components.fusion.evaluate.scorers import network_scorer, text_only
from components.fusion.evaluate.table import Scorer, Table
from components.fusion.model.errors import FusionDataError
from components.fusion.model.networks.files import load_network
from components.fusion.model.networks.names import NETWORKS
from components.fusion.model.towers.aligned import load_towers
from components.stage.record import Record


class Variation(NamedTuple):
    """One variation: its name, the towers that its networks stand on, and the networks by name."""

    name: str
    towers: Path
    networks: dict[str, Path]


def networks_in(folder: Path) -> dict[str, Path]:
    """Folders of networks in a folder, by name."""
    return {name: folder / name for name in NETWORKS if (folder / name).is_dir()}


def variations_in(study: Path, models: Path) -> list[Variation]:
    """The variations of a study, by name.

    Args:
        models: the root graph's folder of fusion models.

    Raises:
        FusionDataError: the study has none, or one stands on towers that are nowhere, or is damaged.
        ModelFileError: its towers are damaged.
    """
    found = [
        Variation(folder.name, _towers_of(folder, networks, models), networks)
        for folder in sorted(path for path in study.glob("*") if path.name not in NETWORKS)
        if (networks := networks_in(folder))
    ]
    if not found:
        raise FusionDataError(f"There are no variations in {study}; run the stages of studies/dvc.yaml.")
    return found


def _towers_of(variation: Path, networks: dict[str, Path], models: Path) -> Path:
    """A variation's own towers, else those of the root graph that its networks were trained on."""
    own = variation / "align_image"
    if own.is_dir():
        return own
    wanted = {load_network(folder).towers_sha256 for folder in networks.values()}
    for shared in (models / "align_image", models / "align_text"):
        if wanted == {load_towers(shared).model_sha256}:
            return shared
    raise FusionDataError(f"{variation} was trained on towers that are neither there nor in {models}.")


def add_variations(table: Table, study: Path, models: Path, settings: Settings, record: Record) -> None:
    """``text_only`` and the networks of every variation as rows ``NETWORK_VARIATION``, and means of seeds."""
    variations = variations_in(study, models)
    for variation in variations:
        with record.timed(variation.name):
            _add(table, variation, settings)
    table.seeds = [variation.name for variation in variations if variation.name.isdecimal()]
    table.add_means()


def _add(table: Table, variation: Variation, settings: Settings) -> None:
    towers = open_towers(variation.towers, settings)
    held_out = read_split(towers, settings.params.split, settings)
    questions = held_out.questions
    scorers: dict[str, Scorer] = {f"text_only_{variation.name}": text_only(questions.vectors)}
    for name, folder in variation.networks.items():
        trained = load_network(folder, towers.model.model_sha256)
        scorers[f"{name}_{variation.name}"] = network_scorer(questions, trained)
    Measurement(held_out, towers, settings).add(table, scorers)
    towers.close()
