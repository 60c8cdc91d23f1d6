"""Stage ``encoder``: train the dual encoder on the train split, publish the model and its curves."""

from __future__ import annotations

import torch

from components.encoder.model.params import EncoderParams
from components.encoder.model.towers.dual_encoder import Encoder
from components.encoder.model.towers.files import save_encoder
from components.encoder.model.towers.start import starting_model
from components.encoder.model.train.contrastive import Contrastive, Validate
from components.encoder.model.train.training_set import make_training_set
from components.stage.files.publish import published, write_text
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.record import Record
from components.stage.resume import sha256_folder
from components.training.curves import curves_csv, record_history
from components.training.resume import forget, training_folder

CHOOSING = "validation_titles_mrr"


class EncoderStage(Params):
    """Parameters of the stage."""

    encoder: EncoderParams


def run(params: EncoderStage, paths: Paths, record: Record) -> None:
    """Train, or go on from where a killed run stopped, and publish model and curves.

    Raises:
        TrainingDataError: the train split has fewer than two products.
        DivergedError: a loss was not finite.
    """
    settings = params.encoder
    torch.set_num_threads(settings.threads)
    with record.timed("prepare"):
        model = starting_model(settings)
        data, validate = make_training_set(paths.catalogue, settings, model, paths.cache)
        resume = training_folder(
            record.stage, settings.model_dump_json(), sha256_folder(paths.catalogue), model.model_sha256
        )
    objective = Contrastive(model.encoder, data, settings, validate)
    # Counted here: adapters are merged after the last step.
    trained = sum(p.numel() for p in objective.module.parameters() if p.requires_grad)
    with record.timed("train"):
        history = objective.loop(resume).run()
        objective.finish(history)
        if data.views is not None and validate is not None:
            record.metrics |= choose_pictures(model.encoder, validate)
    encoder = model.encoder.cpu()
    with published(paths.encoder) as folder:
        save_encoder(encoder, model.tokenizer, folder)
    curves = paths.plots / f"{paths.encoder.name}.csv"
    write_text(curves, curves_csv(history.steps, history.validation, history.further))
    forget(resume)
    record.outputs = [str(paths.encoder), str(curves)]
    record_history(record, history, objective.plan.batch_size)
    if settings.training.interpolate:
        record.metrics |= objective.figures_of_mean | {"tuned_share": objective.tuned_share}
    record.metrics["parameters"] = float(sum(p.numel() for p in encoder.parameters()))
    record.metrics["parameters_trained"] = float(trained)


def choose_pictures(encoder: Encoder, validate: Validate) -> dict[str, float]:
    """Make products' vectors of all their pictures, if the validation split is answered better so.

    Returns the figures of both, ``_main`` and ``_all``; where they are equal the main picture stays alone.
    """
    found: dict[str, float] = {}
    encoder.eval()
    for name, every in (("main", False), ("all", True)):
        encoder.all_pictures = every
        found |= {f"{figure}_{name}": value for figure, value in validate(encoder).items()}
    encoder.all_pictures = found[f"{CHOOSING}_all"] > found[f"{CHOOSING}_main"]
    return found
