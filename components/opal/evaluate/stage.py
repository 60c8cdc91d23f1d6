"""The evaluation stage of listings: every row of the table, as metrics and per-product files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from components.catalog.format.schema import CatalogSchema, read_schema
from components.encoder.model.features.pixels import PixelCache
from components.encoder.model.features.rows import read_rows, read_truth
from components.opal.evaluate.evaluate import HeldOutListings, ListingEvaluation
from components.opal.evaluate.measures import Target, noise_kinds
from components.opal.evaluate.nearest import copied, nearest_rows, voted
from components.opal.model.errors import ListingDataError
from components.opal.model.language.files import load_listing_model, read_note
from components.opal.model.language.listing_model import ListingModel
from components.opal.model.language.picture_cache import remember_pictures
from components.opal.model.listing_text import Listing, answer_text, attributes_of
from components.opal.model.params import ListingEvalParams, ListingParams, SftParams
from components.opal.model.rows import listing_of, refined_listings
from components.opal.model.train.sft_stage import note_of, samples_of, starting_model, tokenizer_texts
from components.opal.model.writing.generate import Decoding, Generated, ListingGenerator
from components.retrieval.embeddings import read_embeddings
from components.retrieval.published_figures import flat_figures, publish_figures
from components.stage.record import Record

METRICS, PER_QUERY = Path("metrics/listing.json"), Path("results/per_query/listing")


@dataclass(frozen=True)
class Inputs:
    """Where the stage reads from."""

    catalogue: Path
    truth: Path
    refined: Path
    encoder: Path
    embeddings: Path
    models: Path  # holds sft_raw, sft_refined, dpo
    cache: Path


def held_out_rows(rows: Sequence[dict[str, Any]], params: ListingEvalParams) -> npt.NDArray[np.int64]:
    """Catalogue positions of the measured products: the first ``products`` of a seeded order, in row order.

    Raises:
        ListingDataError: the split is empty.
    """
    inside = [i for i, row in enumerate(rows) if row["split"] == params.split]
    if not inside:
        raise ListingDataError(f"the catalogue has no product in the {params.split} split.")
    order = np.random.default_rng(params.seed).permutation(len(inside))[: params.products]
    return np.array(sorted(inside[i] for i in order), dtype=np.int64)


def read_held_out_listings(
    rows: Sequence[dict[str, Any]], positions: npt.NDArray[np.int64], truth: Path, refined: dict[str, Listing]
) -> HeldOutListings:
    """Truth where there is one; else the seller's own listing stands in for it (real catalogues)."""
    known = read_truth(truth)
    chosen = [rows[i] for i in positions]
    true = [
        Listing(t["title"] or r["title"], attributes_of(t["attributes"]) or attributes_of(r["attributes"]))
        if (t := known.get(r["product_id"]))
        else listing_of(r)
        for r in chosen
    ]
    return HeldOutListings(
        targets=[Target(r["product_id"], r["category"], t) for r, t in zip(chosen, true, strict=True)],
        groups=[r["group_id"] for r in chosen],
        noise=[noise_kinds(known.get(r["product_id"], {}).get("noise")) for r in chosen],
        seller=[listing_of(r) for r in chosen],
        refined=[refined.get(r["product_id"]) for r in chosen],
    )


def neighbour_rows(
    rows: Sequence[dict[str, Any]],
    positions: npt.NDArray[np.int64],
    refined: dict[str, Listing],
    embeddings: Path,
    k: int,
) -> list[list[Listing]]:
    """Refined listings of the ``k`` nearest training pictures of the category, per measured product."""
    ids, vectors, _ = read_embeddings(embeddings)
    at = {name: i for i, name in enumerate(ids)}
    train = [
        i
        for i, row in enumerate(rows)
        if row["split"] == "train" and row["product_id"] in refined and refined[row["product_id"]].title
    ]
    near = nearest_rows(
        vectors[[at[rows[i]["product_id"]] for i in positions]],
        [rows[i]["category"] for i in positions],
        vectors[[at[rows[i]["product_id"]] for i in train]],
        [rows[i]["category"] for i in train],
        k,
    )
    return [[refined[rows[train[j]]["product_id"]] for j in found] for found in near]


def as_generated(
    listings: Sequence[Listing | None], targets: Sequence[Target], schema: CatalogSchema
) -> list[Generated]:
    """Copied listings in the form of written ones."""
    return [
        Generated(answer_text(listing, schema.categories[t.category]) if listing else "", listing)
        for listing, t in zip(listings, targets, strict=True)
    ]


def evaluate_and_publish(
    params: ListingEvalParams, listing: ListingParams, sft: SftParams, inputs: Inputs, record: Record
) -> None:
    """Measure every row on the held-out split, and publish the figures."""
    torch.set_num_threads(params.threads)
    rows, schema = read_rows(inputs.catalogue), read_schema(inputs.catalogue / "schema.json")
    refined = refined_listings(inputs.refined)
    positions = held_out_rows(rows, params)
    held_out = read_held_out_listings(rows, positions, inputs.truth, refined)
    evaluation = ListingEvaluation(held_out, schema, params.seed, params.bootstrap_samples)
    with record.timed("nearest"):
        near = neighbour_rows(rows, positions, refined, inputs.embeddings, params.neighbours)
        for name, listings in (
            ("nearest_neighbour", [copied(n[:1]) for n in near]),
            ("nearest_vote", [voted(n) for n in near]),
        ):
            same = as_generated(listings, held_out.targets, schema)
            evaluation.add(name, same, same)
    for name in ("sft_raw", "sft_refined", "dpo"):
        folder = inputs.models / name
        model, note = load_listing_model(folder), read_note(folder)
        _evaluate_model(evaluation, name, model, note, params, inputs, positions, record)
    untrained = _evaluate_untrained(evaluation, params, listing, sft, inputs, positions, record)
    with record.timed("intervals"):
        metrics = {**evaluation.metrics(), **untrained.figures()}
    tables = {**evaluation.tables(), **untrained.tables()}
    record.outputs = publish_figures(metrics, tables, METRICS, PER_QUERY)
    record.metrics |= {
        name: value
        for name, value in flat_figures(metrics).items()
        if "_category_" not in name and "_noise_" not in name and "_f1_" not in name
    }


def _evaluate_model(
    evaluation: ListingEvaluation,
    name: str,
    model: ListingModel,
    note: dict[str, Any],
    params: ListingEvalParams,
    inputs: Inputs,
    positions: npt.NDArray[np.int64],
    record: Record,
    pretrained: bool | None = None,
) -> None:
    """Let one model write about every measured product, in both ways, and measure it."""
    remember_pictures(model.model, note["precision"], inputs.cache)
    categories = [t.category for t in evaluation.held_out.targets]
    pixels = PixelCache(inputs.catalogue, note["image_px"], inputs.cache, params.threads).take(positions)
    decoding = Decoding(params.batch_size, note["max_new_tokens"], note["precision"])
    generator = ListingGenerator(model, note, evaluation.schema, decoding)
    with record.timed(name):
        raw, held = generator.both(pixels, categories, what=name)
    tokens = sum(g.tokens for g in raw) + sum(h.tokens for g, h in zip(raw, held, strict=True) if h is not g)
    record.metrics[f"{name}.tokens_per_second"] = tokens / max(record.timings[name], 1e-9)
    evaluation.add(name, raw, held, pretrained)


def _evaluate_untrained(
    evaluation: ListingEvaluation,
    params: ListingEvalParams,
    listing: ListingParams,
    sft: SftParams,
    inputs: Inputs,
    positions: npt.NDArray[np.int64],
    record: Record,
) -> ListingEvaluation:
    """Row ``zero_shot``, on a seeded sample where nothing is pretrained.

    A model that nobody taught writes to the limit of tokens, for every product, and knows nothing: its row
    took a third of the stage's time. It has its own n, and no test compares it.
    """
    count = len(positions)
    wanted = count if listing.pretrained else min(params.untrained_products, count)
    chosen = np.sort(np.random.default_rng(params.seed).permutation(count)[:wanted])
    held_out = evaluation.held_out.of(chosen.tolist())
    untrained = ListingEvaluation(held_out, evaluation.schema, params.seed, params.bootstrap_samples)
    model, note = _untrained(listing, sft, inputs)
    pretrained = listing.pretrained is not None
    shared = (params, inputs, positions[chosen], record, pretrained)
    _evaluate_model(untrained, "zero_shot", model, note, *shared)
    return untrained


def _untrained(listing: ListingParams, sft: SftParams, inputs: Inputs) -> tuple[ListingModel, dict[str, Any]]:
    """The model before its first step. Without pretrained weights it knows nothing, and its row says so."""
    samples = samples_of("refined", inputs.catalogue, inputs.refined, listing, sft)
    texts = tokenizer_texts(inputs.catalogue, inputs.refined, listing, "refined")
    model, pixels = starting_model(listing, inputs.encoder, texts, samples, inputs.catalogue, inputs.cache)
    return model, note_of(listing, pixels.image_px)
