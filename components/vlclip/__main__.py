"""What is no stage of a room yet: ``python -m components.vlclip study_lambda_zero``."""

from __future__ import annotations

import sys
from pathlib import Path

from components.stage.frame import Command, run
from components.stage.params import load_params
from components.stage.record import Record


def study_lambda_zero(record: Record) -> None:
    """Study stage: an encoder trained without the patch loss."""
    from components.encoder.model.params import EncoderParams
    from components.encoder.model.train.stage import train_and_publish
    from components.stage.paths import Paths

    params = load_params("encoder", EncoderParams)
    params = params.model_copy(update={"training": params.training.model_copy(update={"topk_weight": 0.0})})
    record.parameters = params.model_dump(mode="json")
    model, curves = Path("models/study/encoder_lambda_zero"), Path("plots/study/encoder_lambda_zero.csv")
    paths = Paths()
    train_and_publish(params, paths.catalogue, model, curves, paths.cache, record)


COMMANDS: dict[str, Command] = {"study_lambda_zero": study_lambda_zero}

if __name__ == "__main__":
    sys.exit(run("vlclip", COMMANDS))
