"""Stage ``encoder_eval``: every row of the encoder's table on held-out products."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import torch

from components.encoder.embed.hubs import learn_hubs
from components.encoder.embed.params import HubParams
from components.encoder.evaluate.attribute_values import probe_answers
from components.encoder.evaluate.figures import (
    INFERRED,
    NORMALISED,
    OTHERS,
    TYPED,
    Evaluation,
    evaluate_baselines,
    evaluate_encoder,
)
from components.encoder.evaluate.query_type import Bonus, InferredTypes, NamedTypes, postings
from components.encoder.model.errors import EncoderConfigurationError
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.held_out import asked_in, read_held_out
from components.encoder.model.features.picture_features import FeatureCache
from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.features.rows import read_rows
from components.encoder.model.features.vector_cache import Vectors
from components.encoder.model.params import EncoderParams, EvaluationParams
from components.encoder.model.towers.files import LoadedEncoder, load_encoder
from components.encoder.model.towers.start import starting_model
from components.retrieval.published_figures import flat_figures, publish_figures
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.record import Record


class EncoderEvaluationStage(Params):
    """Parameters of the stage: ``encoder`` says what the network was before its first step."""

    encoder: EncoderParams
    encoder_eval: EvaluationParams
    hubs: HubParams = HubParams()
    study: Path | None = None  # folder of further models; each is a row of the table


def run(params: EncoderEvaluationStage, paths: Paths, record: Record) -> None:
    """Measure untrained, fine_tuned and the baselines on the held-out split, and publish the figures."""
    settings = params.encoder_eval
    torch.set_num_threads(settings.threads)
    held_out = read_held_out(paths.catalogue, paths.truth, settings.split, settings.relevant_grade)
    model = load_encoder(paths.encoder)
    pixels = PixelCache(paths.catalogue, model.encoder.image_px, paths.cache, settings.threads)
    evaluation = Evaluation(held_out, settings, asked_in(paths.catalogue, ["train"]))
    words_at = postings(held_out.train_rows)
    told = NamedTypes(held_out.train_rows, words_at)
    variants = {"untrained": starting_model(params.encoder), "fine_tuned": model}
    if params.study:
        variants |= study_rows(params.study, {*variants, *OTHERS})
    for name, variant in variants.items():
        with record.timed(name):
            # Variants differ in their heads: a frozen tower reads each text once for all of them.
            batch = BatchEncoder(variant, settings.batch_size, settings.precision, paths.cache / "vectors")
            features = FeatureCache.of_products(paths.catalogue, batch, paths.cache, settings.threads)
            bonuses: dict[str, Bonus] = {}
            if name == "fine_tuned":
                inferred = InferredTypes(batch, features, paths.catalogue, settings.relevant_grade)
                hubs = learn_hubs(paths.catalogue, batch, features, params.hubs)
                record.metrics |= {"inferred_type_weight": inferred.weight, "hub_strength": hubs.strength}
                biases = hubs.biases(features.vectors(held_out.positions))
                bonuses = _bonuses(told, inferred, biases)
            evaluate_encoder(evaluation, name, batch, features, bonuses)
            batch.cache.close()
        if name == "fine_tuned":
            with record.timed("linear_probe"):
                answers = probe_answers(read_rows(paths.catalogue), held_out, features.take)
            evaluation.add_answers("linear_probe", answers)
    with record.timed("baselines"):
        evaluate_baselines(evaluation, pixels, words_at, told)
    with record.timed("intervals"):
        metrics = evaluation.metrics()
    name = "study_encoder" if params.study else "encoder"
    record.outputs = publish_figures(
        metrics, evaluation.tables(), paths.metrics / f"{name}.json", paths.per_query / name
    )
    record.metrics |= flat_figures(metrics)


def _bonuses(told: NamedTypes, inferred: InferredTypes, biases: Vectors) -> dict[str, Bonus]:
    """What is added to the encoder's scores, by the end of the row's name.

    Args:
        biases: ``[products]`` of the held-out split.
    """
    return {
        TYPED: lambda task, held_out: told.bonus(task.texts, held_out.rows),
        INFERRED: inferred.bonus,
        NORMALISED: lambda task, held_out: -biases,
        f"{INFERRED}{NORMALISED}": lambda task, held_out: inferred.bonus(task, held_out) - biases,
    }


def study_rows(study: Path, taken: Collection[str]) -> dict[str, LoadedEncoder]:
    """The models of a study by the name of their row.

    Args:
        taken: names of other rows of the table.

    Raises:
        EncoderConfigurationError: two rows have one name.
    """
    found: dict[str, LoadedEncoder] = {}
    for folder in sorted(p for p in study.iterdir() if p.is_dir()):
        rows = _with_shortened(folder)
        if twice := [name for name in rows if name in found or name in taken]:
            raise EncoderConfigurationError(
                f"{folder}: the table has another row named {twice[0]}; give the folder another name."
            )
        found |= rows
    return found


def _with_shortened(folder: Path) -> dict[str, LoadedEncoder]:
    """A model as a row, and one more for each number of dimensions that its vectors can be cut to."""
    found = {folder.name: load_encoder(folder)}
    for dimensions in found[folder.name].encoder.architecture.dimensions:
        short = found[f"{folder.name}_{dimensions}"] = load_encoder(folder)
        short.encoder.shorten(dimensions)
    return found
