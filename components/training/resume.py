"""What a training run keeps on disk so that it can go on exactly where a kill stopped it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from components.stage.files.publish import published
from components.stage.resume import code_sha256, resume_folder
from components.training.curves import History

STATE_FILE = "state.pt"


def training_folder(stage: str, *parts: str) -> Path:
    """Where the state of exactly this training lies: the same parameters and inputs, code and torch.

    Args:
        stage: DVC's name of the stage. parts: texts that identify parameters and inputs.
    """
    return resume_folder(stage, (*parts, code_sha256(), torch.__version__))


def forget(folder: Path) -> None:
    """Delete the state, once what it led to is published."""
    (folder / STATE_FILE).unlink(missing_ok=True)


def save_state(folder: Path | None, step: int, parts: Mapping[str, Any], history: History) -> None:
    """Write the resume state; a kill leaves the old state or the new one. None keeps nothing.

    Args:
        parts: name to whatever has a ``state_dict``: module, optimizer, schedule.
    """
    if folder is None:
        return
    state = {name: part.state_dict() for name, part in parts.items()}
    with published(folder / STATE_FILE) as temporary:
        torch.save(
            {"step": step, "parts": state, "steps": history.steps, "validation": history.validation},
            temporary,
        )


def restore_state(
    folder: Path | None, parts: Mapping[str, Any], history: History, where: torch.device
) -> int | None:
    """Put back what :func:`save_state` wrote, and return the step to go on from; None if nothing was kept."""
    if folder is None or not (folder / STATE_FILE).exists():
        return None
    state: dict[str, Any] = torch.load(folder / STATE_FILE, map_location=where, weights_only=True, mmap=False)
    for name, part in parts.items():
        part.load_state_dict(state["parts"][name])
    history.steps, history.validation = state["steps"], state["validation"]
    history.resumed_from = state["step"]
    return history.resumed_from
