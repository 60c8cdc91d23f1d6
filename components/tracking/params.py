"""Parameters of tracking: block ``tracking`` of params.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, NonNegativeInt

from components.stage.params import Params

MOST_FIGURES = 12
# metrics/<name>.json, variant, baseline, metrics
HEADLINES = (
    ("encoder", "fine_tuned", "colour_histogram", "hits_at_5 mrr ndcg_at_10 recall_at_100 "
     "titles_hits_at_5 titles_mrr attribute_mean_accuracy"),
    ("ground", "dense_head", "foreground", "iou iou_cluttered iou_plain pointing pointing_cluttered "
     "fallback_rate"),
    ("vlclip", "full", "raw", "mrr mrr_cluttered mrr_plain hits_at_5 ndcg_at_10 recall_at_100 titles_mrr "
     "attribute_mean_accuracy similar_precision"),
    ("fusion", "moe_bilinear", "hybrid_image", "ndcg_at_10 mrr recall_at_100 textual_ndcg_at_10 "
     "visual_ndcg_at_10 sparse_text_ndcg_at_10 picture_missing_ndcg_at_10 text_missing_ndcg_at_10"),
    ("refine", "refined", "seller", "attribute_f1 attribute_macro_f1 drop_precision drop_recall "
     "title_rouge_l"),
    ("listing", "dpo", "linear_probe", "attribute_macro_f1 attribute_f1 hallucination_rate completion_rate "
     "title_rouge_l raw_valid constrained_attribute_macro_f1 constrained_hallucination_rate"),
)  # fmt: skip


class Headline(Params):
    """Which figures of an evaluation MLflow shows as metrics; all of them stand in the run's table."""

    variant: str  # the system as it is meant to be used: its first figure stands on the pipeline run
    # the first one ranks models; what a catalogue does not have is left out
    metrics: tuple[str, ...] = Field(min_length=1, max_length=MOST_FIGURES)
    # what its won and lost queries and its examples stand beside; "" for none
    baseline: str = ""


class TrackingParams(Params):
    """What is recorded under which names; the store is ``MLFLOW_TRACKING_URI`` or the workspace's own."""

    # begins the names of experiments and registered models; the catalogue follows: vitrine-fashion
    experiment: str = Field("vitrine", min_length=1, max_length=250)
    # results and pages above this size are not copied into MLflow
    artifact_limit_bytes: NonNegativeInt = 20_000_000
    # system -> folder; `vitrine register` takes those that are there, as vitrine-<catalogue>-<system>
    models: dict[Annotated[str, Field(pattern=r"^[\w.-]+$")], Path] = Field(
        {
            "encoder": Path("models/encoder"),
            "vlclip": Path("models/vlclip/full"),
            "fusion": Path("models/fusion/moe_bilinear"),
            "listing": Path("models/listing/dpo"),
        },
        min_length=1,
    )
    # folder of a model -> the variant its figures stand under; others have the name of their folder
    variants: dict[str, str] = {"models/encoder": "fine_tuned", "models/grounder": "dense_head"}
    # metrics/<name>.json -> what is shown of it
    headline: dict[str, Headline] = {
        name: Headline(variant=variant, baseline=baseline, metrics=tuple(metrics.split()))
        for name, variant, baseline, metrics in HEADLINES
    }
