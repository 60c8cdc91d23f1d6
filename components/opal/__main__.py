"""Door of OPAL: ``python -m components.opal refine|sft|preferences|dpo|evaluate|study SEED|describe …``."""

from __future__ import annotations

import sys
from pathlib import Path

from components.stage.frame import Command, run
from components.stage.memory import keep_few_kernels
from components.stage.params import load_params
from components.stage.record import Record

CATALOGUE, TRUTH = Path("data/checked"), Path("data/truth")
ENCODER, EMBEDDINGS = Path("models/encoder"), Path("data/embeddings")
REFINED = Path("data/refined")
PREFERENCES, LISTING_MODELS = Path("data/preferences"), Path("models/listing")
STUDY_DATA, STUDY_MODELS = Path("data/study/opal"), Path("models/study/opal")


def refine(record: Record) -> None:
    """Stage ``refine``: listings cleaned by judges (MACE), and instruction samples of them (LACU)."""
    from components.llm.params import LLMParams
    from components.opal.refine.params import RefineParams
    from components.opal.refine.stage import refine_and_publish

    params = load_params("refine", RefineParams)
    record.parameters = params.model_dump(mode="json")
    chat = load_params("llm", LLMParams)
    if params.mllm:
        record.parameters |= {"llm": chat.model_dump(mode="json")}
    refine_and_publish(params, chat, CATALOGUE, ENCODER, EMBEDDINGS, REFINED, record)


def refine_eval(record: Record) -> None:
    """Stage ``refine_eval``: sellers' and refined listings against the truth."""
    from components.opal.evaluate.refinement_stage import evaluate_and_publish
    from components.opal.refine.params import RefineEvalParams

    params = load_params("refine_eval", RefineEvalParams)
    record.parameters = params.model_dump(mode="json")
    evaluate_and_publish(params, CATALOGUE, TRUTH, REFINED, record)


def sft(record: Record, variant: str) -> None:
    """Stage ``sft@VARIANT``: visual instruction tuning on sellers' (raw) or refined listings."""
    from components.opal.model.params import CACHE, ListingParams, SftParams
    from components.opal.model.train.sft_stage import sft_and_publish

    listing, params = load_params("listing", ListingParams), load_params("sft", SftParams)
    record.parameters = {"listing": listing.model_dump(mode="json"), "sft": params.model_dump(mode="json")}
    out, curves = LISTING_MODELS / f"sft_{variant}", Path(f"plots/sft_{variant}.csv")
    sft_and_publish(variant, listing, params, CATALOGUE, REFINED, ENCODER, out, curves, CACHE, record)


def preferences(record: Record) -> None:
    """Stage ``preferences``: refined listings beside worse ones, each checked to be worse."""
    keep_few_kernels()
    from components.opal.model.params import CACHE, PreferencesParams
    from components.opal.model.preferences.stage import make_and_publish

    params = load_params("preferences", PreferencesParams)
    record.parameters = params.model_dump(mode="json")
    tuned = LISTING_MODELS / "sft_refined"
    make_and_publish(params, CATALOGUE, REFINED, EMBEDDINGS, tuned, PREFERENCES, CACHE, record)


def dpo(record: Record) -> None:
    """Stage ``dpo``: direct preference optimisation of the tuned model."""
    from components.opal.model.params import CACHE, DpoParams, ListingParams
    from components.opal.model.train.dpo_stage import dpo_and_publish

    listing, params = load_params("listing", ListingParams), load_params("dpo", DpoParams)
    record.parameters = {"listing": listing.model_dump(mode="json"), "dpo": params.model_dump(mode="json")}
    tuned, out, curves = LISTING_MODELS / "sft_refined", LISTING_MODELS / "dpo", Path("plots/dpo.csv")
    dpo_and_publish(listing, params, CATALOGUE, PREFERENCES, tuned, out, curves, CACHE, record)


def evaluate(record: Record) -> None:
    """Stage ``listing_eval``: every way to write a listing, on held-out products."""
    keep_few_kernels()
    from components.opal.evaluate.stage import Inputs, evaluate_and_publish
    from components.opal.model.params import CACHE, ListingEvalParams, ListingParams, SftParams

    params = load_params("listing_eval", ListingEvalParams)
    listing, tuning = load_params("listing", ListingParams), load_params("sft", SftParams)
    record.parameters = params.model_dump(mode="json")
    inputs = Inputs(CATALOGUE, TRUTH, REFINED, ENCODER, EMBEDDINGS, LISTING_MODELS, CACHE)
    evaluate_and_publish(params, listing, tuning, inputs, record)


def study(record: Record, seed: str) -> None:
    """Study stage: refinement, both tunings, pairs and preferences once more, with another seed."""
    from components.llm.params import LLMParams
    from components.opal.evaluate.study import Blocks, Places, repeat_with_seed, seed_of
    from components.opal.model.params import CACHE, DpoParams, ListingParams, PreferencesParams, SftParams
    from components.opal.refine.params import RefineParams

    blocks = Blocks(
        load_params("refine", RefineParams),
        load_params("llm", LLMParams),
        load_params("listing", ListingParams),
        load_params("sft", SftParams),
        load_params("preferences", PreferencesParams),
        load_params("dpo", DpoParams),
    ).seeded(seed_of(seed))
    record.parameters = {"seed": int(seed)}
    made = (STUDY_DATA / seed, STUDY_MODELS / seed, Path(f"plots/study/opal_{seed}"))
    repeat_with_seed(blocks, Places(CATALOGUE, ENCODER, EMBEDDINGS, CACHE, *made), record)


def evaluate_study(record: Record) -> None:
    """Study stage: every claim about listings in each seed, and pooled."""
    keep_few_kernels()
    from components.opal.evaluate.study_stage import StudyInputs, evaluate_study_and_publish
    from components.opal.model.params import CACHE, ListingEvalParams

    params = load_params("listing_eval", ListingEvalParams)
    record.parameters = params.model_dump(mode="json")
    found = sorted(p.name for p in STUDY_MODELS.iterdir() if p.is_dir()) if STUDY_MODELS.is_dir() else []
    seeds = {seed: (STUDY_DATA / seed, STUDY_MODELS / seed) for seed in found}
    per_query = Path("results/per_query/listing")
    inputs = StudyInputs(CATALOGUE, TRUTH, REFINED, EMBEDDINGS, per_query, CACHE, seeds)
    evaluate_study_and_publish(params, inputs, record)


COMMANDS: dict[str, Command] = {
    "refine": refine,
    "refine_eval": refine_eval,
    "sft": sft,
    "preferences": preferences,
    "dpo": dpo,
    "evaluate": evaluate,
    "study": study,
    "evaluate_study": evaluate_study,
}

if __name__ == "__main__":
    if sys.argv[1:2] == ["describe"]:
        from components.opal.describe.command import main

        sys.exit(main(sys.argv[2:]))
    sys.exit(run("opal", COMMANDS))
