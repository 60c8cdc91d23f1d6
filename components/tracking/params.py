"""Parameters of tracking: block ``tracking`` of params.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, NonNegativeInt

from components.stage.params import Params


class TrackingParams(Params):
    """What is recorded under which names; the store is ``MLFLOW_TRACKING_URI`` or the workspace's own."""

    experiment: str = Field("vitrine", min_length=1, max_length=250)  # MLflow experiment that holds all runs
    # results and pages above this size are not copied into MLflow
    artifact_limit_bytes: NonNegativeInt = 20_000_000
    # registered name -> folder; `vitrine register` takes those that are there
    models: dict[Annotated[str, Field(pattern=r"^[\w.-]+$")], Path] = Field(
        {
            "vitrine-encoder": Path("models/encoder"),
            "vitrine-vlclip": Path("models/vlclip/full"),
            "vitrine-fusion": Path("models/fusion/moe_bilinear"),
            "vitrine-listing": Path("models/listing/dpo"),
        },
        min_length=1,
    )
