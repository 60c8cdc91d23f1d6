"""A trained grounder on disk: config.json and head.safetensors, and nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from components.grounding.dense.head import DenseHead
from components.grounding.errors import GrounderFileError
from components.stage.files.model_files import (
    CHECKSUMS,
    check_files,
    check_weights,
    read_json,
    write_checksums,
)

CONFIG, WEIGHTS = "config.json", "head.safetensors"
FORMAT = 1


class RegionCalibration(NamedTuple):
    """``share`` of the peak and ``margin`` of a region; ``threshold`` of the score.

    ``scene_iou``: on the scenes that chose them. ``absent_fallback``: share of questions for a type that a
    scene does not show that fall below the threshold, on the scenes that did not set it.
    """

    share: float
    margin: float
    threshold: float
    scene_iou: float
    absent_fallback: float


@dataclass(frozen=True)
class TrainedHead:
    """A dense head, the types that it tells apart, and how its maps become boxes.

    ``image_sha256``: of the trunk whose maps it reads. ``scenes``: how it was taught, for people. The others
    say how a picture is read: as :class:`SceneGrounding` and :class:`GroundParams` name them.
    """

    head: DenseHead
    types: list[str]
    calibration: RegionCalibration
    image_sha256: str
    scenes: dict[str, Any]
    sizes_px: tuple[int, ...]
    agreement: float | None
    minimum_area: float


def save_grounder(trained: TrainedHead | None, reason: str, folder: Path) -> None:
    """Write the folder, which must not exist; without a head it says why there is none."""
    folder.mkdir(parents=True)
    config: dict[str, Any] = {"format": FORMAT, "reason": reason}
    if trained is not None:
        head = trained.head
        config |= {field.name: getattr(trained, field.name) for field in fields(trained)}
        config |= {
            "head": {"channels": head.channels, "types": head.types, "hidden": head.hidden},
            "dropout": head.dropout,
            "calibration": trained.calibration._asdict(),
        }
        tensors = {k: v.detach().cpu().contiguous() for k, v in head.state_dict().items()}
        save_file(tensors, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    write_checksums(folder)


def load_grounder(folder: Path, image_sha256: str) -> TrainedHead | None:
    """The head of a folder in evaluation mode, bit-equal to what was saved; None where it holds none.

    Args:
        image_sha256: of the trunk that is to be read; another one's maps mean something else.

    Raises:
        GrounderFileError: a file is missing, not allowed, cut, or of another trunk.
    """
    names = {p.name for p in folder.iterdir()} if folder.is_dir() else set[str]()
    if CONFIG not in names or names - {CONFIG, WEIGHTS, CHECKSUMS}:
        raise GrounderFileError(
            f"{folder} must hold {CONFIG} and {WEIGHTS} alone, but holds "
            f"{', '.join(sorted(names)) or 'nothing'}; run 'vitrine run ground'."
        )
    try:
        config = read_json(folder / CONFIG)
        if config["format"] != FORMAT:
            raise ValueError(f"format {config['format']} is not {FORMAT}")
        check_files(folder)
        if "head" not in config:
            return None
        head = DenseHead(**config["head"], dropout=config["dropout"])
        head.load_state_dict(load_file(folder / WEIGHTS))
        check_weights(head.state_dict().items())
        head = head.to(memory_format=torch.channels_last).eval()  # as it was trained: other sums otherwise
        told = {field.name: config[field.name] for field in fields(TrainedHead)} | {"head": head}
        told["calibration"] = RegionCalibration(**config["calibration"])
        trained = TrainedHead(**told | {"sizes_px": tuple(config["sizes_px"])})
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise GrounderFileError(f"{folder} cannot be loaded ({error}); run 'vitrine run ground'.") from None
    if trained.image_sha256 != image_sha256:
        raise GrounderFileError(f"{folder} was trained on another image tower; run 'vitrine run ground'.")
    return trained
