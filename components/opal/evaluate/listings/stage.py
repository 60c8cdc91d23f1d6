"""The table of listings: every way to write one, measured on the same held-out products."""

from __future__ import annotations

import torch

from components.catalog.format.schema import read_schema
from components.encoder.model.features.rows import read_rows
from components.opal.evaluate.listings.answers import Asking
from components.opal.evaluate.listings.baselines import (
    Known,
    as_generated,
    calibrated_on,
    copied,
    neighbours,
    picture_features,
    probed,
    shares,
    voted,
)
from components.opal.evaluate.listings.evaluation import RELIANCE, ListingEvaluation
from components.opal.evaluate.listings.held_out import read_held_out_listings
from components.opal.evaluate.listings.picture_reliance import picture_reliance
from components.opal.model.certainty.certainty import read_certainty
from components.opal.model.language.files import load_listing_model, read_note
from components.opal.model.listings import refined_listings
from components.opal.model.params import DescribeParams, ListingEvalParams, ListingParams, SftParams
from components.opal.model.sft.samples import read_lessons
from components.opal.model.sft.starting_model import note_of, starting_model
from components.opal.model.writing.generate import Generated
from components.retrieval.published_figures import flat_figures, publish_figures
from components.stage.files.publish import write_text
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.record import Record
from components.stage.resources.memory import keep_few_kernels

TRAINED = ("sft_raw", "sft_refined", "dpo")
PREFERRED = ("sft_refined", "dpo")  # rows whose reliance on the picture is compared


class Blocks(Params):
    """What the stage reads of params.yaml; ``listing`` and ``sft`` are of the row that was never trained,

    and ``describe`` says what a seller is shown of an answer.
    """

    listing: ListingParams
    sft: SftParams
    listing_eval: ListingEvalParams
    describe: DescribeParams = DescribeParams()


def run(params: Blocks, paths: Paths, record: Record) -> None:
    """Measure every row on the held-out split, and publish the figures."""
    keep_few_kernels()
    how = params.listing_eval
    torch.set_num_threads(how.threads)
    rows, schema = read_rows(paths.catalogue), read_schema(paths.catalogue / "schema.json")
    refined = refined_listings(paths.refined)
    held_out = read_held_out_listings(rows, how, paths.truth, refined)
    evaluation = ListingEvaluation(held_out, schema, how.seed, how.bootstrap_samples)
    categories = [target.category for target in held_out.targets]
    known = Known(rows, refined, picture_features(paths, how, params.listing))
    with record.timed("nearest"):
        near = neighbours(known, held_out.positions, how.neighbours)
        unseen = known.positions("validation", {target.product_id for target in held_out.targets})
        others = neighbours(known, unseen, how.neighbours)
        for name, answer in (("nearest_neighbour", copied), ("nearest_vote", voted)):
            seen = [Generated("", listing := answer(n), shares(n, listing)) for n in others]
            listings = [answer(n) for n in near]
            sure = [shares(n, listing) for n, listing in zip(near, listings, strict=True)]
            same = as_generated(listings, held_out.targets, schema, sure)
            same = calibrated_on(seen, unseen, known).calibrated(same, categories)
            evaluation.add(name, same, same)
    with record.timed("linear_probe"):
        titles = [n[0].title if n else "" for n in near]
        same = probed(known, held_out, titles, schema)
        evaluation.add("linear_probe", same, same)
    asking = Asking(how, schema, paths, params.describe)
    for name in TRAINED:
        folder = paths.listing / name
        model, note = load_listing_model(folder), read_note(folder)
        with record.timed(name):
            free, held, described = asking.answers(model, note, held_out, name, read_certainty(folder))
        with record.timed(f"{name}.{RELIANCE}"):
            judged = name in PREFERRED
            also = {RELIANCE: picture_reliance(model, note, held_out, asking)} if judged else {}
        _note_speed(name, free, held, record)
        evaluation.add(name, free, held, also=also, described=described)
    _zero_shot(params, asking, evaluation, record)
    with record.timed("intervals"):
        metrics, tables = evaluation.metrics(), evaluation.tables()
    targets = paths.metrics / "listing.json", paths.per_query / "listing"
    record.outputs = publish_figures(metrics, tables, *targets)
    for name in ("risk", "reliability", "attributes"):
        file = paths.plots / f"listing_{name}.csv"
        write_text(file, getattr(evaluation.risk, f"{name}_csv")())
        record.outputs.append(str(file))
    record.metrics |= {
        name: value
        for name, value in flat_figures(metrics).items()
        if not any(part in name for part in ("_category_", "_noise_", "_f1_", "calibration_error_"))
    }


def _note_speed(name: str, free: list[Generated], held: list[Generated], record: Record) -> None:
    """Tokens that were written, each once, per second."""
    tokens = sum(g.tokens for g in free) + sum(
        h.tokens for g, h in zip(free, held, strict=True) if h is not g
    )
    record.metrics[f"{name}.titles_refused"] = float(sum(g.title_refused for g in held))
    record.metrics[f"{name}.tokens_per_second"] = tokens / max(record.timings[name], 1e-9)


def _zero_shot(params: Blocks, asking: Asking, evaluation: ListingEvaluation, record: Record) -> None:
    """Row ``zero_shot``, of pretrained weights: a model that nobody taught knows nothing, and beating it
    means nothing."""
    if params.listing.pretrained is None:
        return
    lessons = read_lessons("refined", params.listing, asking.paths.catalogue, asking.paths.refined)
    samples = lessons.order(lessons.capped(params.sft))
    model, pictures = starting_model(params.listing, lessons, samples, asking.paths)
    note = note_of(params.listing, pictures.image_px, lessons.lesson)
    with record.timed("zero_shot"):
        free, held, _ = asking.answers(model, note, evaluation.held_out, "zero_shot")
    evaluation.add("zero_shot", free, held, pretrained=True)
    _note_speed("zero_shot", free, held, record)
