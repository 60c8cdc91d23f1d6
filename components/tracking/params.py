"""Parameters of tracking: block ``tracking`` of params.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from components.stage.params import Params


class TrackingParams(Params):
    """What is recorded under which names; the store is ``MLFLOW_TRACKING_URI`` or the workspace's own."""

    experiment: str = Field(min_length=1, max_length=250)  # MLflow experiment that holds all runs
    artifact_limit_bytes: int = Field(ge=0)  # results and pages above this size are not copied into MLflow
    models: dict[Annotated[str, Field(pattern=r"^[\w.-]+$")], Path] = Field(min_length=1)  # name -> folder
