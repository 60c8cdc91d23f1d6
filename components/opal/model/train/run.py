"""One training: its parameters, and where it keeps what it needs to go on after a kill."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch

from components.opal.model.params import DpoParams, GrpoParams, ListingParams, SftParams
from components.stage.params import Params
from components.stage.resume import code_sha256, resume_folder, sha256_folder

P = TypeVar("P", SftParams, DpoParams, GrpoParams)


@dataclass(frozen=True)
class TuningRun(Generic[P]):
    """One training of a listing model.

    Args:
        params: of the training. listing: whose adapters and precision it uses. resume: folder of checkpoints.
        until: stop after this step with a checkpoint (for tests of interruption).
    """

    params: P
    listing: ListingParams
    resume: Path
    until: int | None = None


def resume_of(stage: str, params: Params, inputs: Iterable[Path]) -> Path:
    """Where the state of this exact work lies: these parameters, inputs and code, and this torch."""
    key = [params.model_dump_json(), torch.__version__, code_sha256()]
    return resume_folder(stage, key + [sha256_folder(folder) for folder in inputs])
