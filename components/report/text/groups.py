"""The systems of a report, each with a page of its own: what it is, and what its page shows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from components.report.figures.figures import system_label


@dataclass(frozen=True)
class SystemGroup:
    """A system by its usual name, with a page of its own."""

    key: str  # the name of its page
    name: str
    does: str  # what goes in and what comes out
    method: str  # in two sentences
    systems: tuple[str, ...]  # the files that measure it
    figures: tuple[str, ...]  # system.metric, the ones to read first; three of those that a run has are shown
    slices: tuple[str, ...]  # system.metric whose parts tell where it fails
    curves: tuple[str, ...]  # how the names of its training stages begin
    gates: tuple[str, ...]  # what was validated on the way to it


GROUPS = (
    SystemGroup(
        "encoder",
        "The encoder",
        "One dual encoder of pictures and texts, on which all three systems are built.",
        "A picture tower and a text tower learn from titles, attributes and train queries to give a picture "
        "and its words the same vector. Pictures are then found by text, and attributes are named by the "
        "nearest of the allowed values.",
        ("encoder",),
        (
            "encoder.hits_at_5",
            "encoder.titles_hits_at_5",
            "encoder.attribute_accuracy",
            "encoder.pointing",
            "encoder.mrr",
        ),
        ("encoder.hits_at_5", "encoder.attribute_accuracy"),
        ("encoder",),
        ("embeddings",),
    ),
    SystemGroup(
        "vlclip",
        "VL-CLIP",
        "A product becomes one vector, from its grounded picture and its clarified text.",
        "A head on the encoder's picture features finds the product in its picture, and a text agent keeps "
        "of the seller's text what the evidence supports. The encoder then learns from whole picture and box "
        "together, with the clarified texts.",
        ("ground", "vlclip"),
        (
            "vlclip.mrr",
            "vlclip.pooled_mrr_cluttered",
            "ground.iou",
            "vlclip.titles_mrr",
            "vlclip.attribute_accuracy",
            "ground.pointing",
        ),
        ("vlclip.mrr", "vlclip.titles_mrr", "vlclip.attribute_accuracy", "ground.iou"),
        ("vlclip",),
        (),
    ),
    SystemGroup(
        "fusion",
        "Fusion retrieval",
        "A text query ranks products by their text and their picture.",
        "Vectors of text and picture are aligned with queries; a network with a gate then weighs them, with "
        "keyword search (BM25) among its inputs. The baselines answer the same queries from text alone, from "
        "the picture alone, or by a weighted sum.",
        ("fusion",),
        (
            "fusion.ndcg_at_10",
            "fusion.visual_ndcg_at_10",
            "fusion.textual_ndcg_at_10",
            "fusion.mrr",
            "fusion.recall_at_100",
        ),
        ("fusion.ndcg_at_10", "fusion.mrr"),
        ("align", "fuse"),
        (),
    ),
    SystemGroup(
        "opal",
        "OPAL",
        "A seller's photo becomes a title and attributes that obey the category's schema.",
        "Refinement first cleans sellers' listings: each word and value is kept, normalised or dropped by "
        "the evidence. A small language model that sees the photo is tuned on the refined listings, then "
        "taught by pairs of better and worse answers (DPO).",
        ("refine", "listing"),
        (
            "listing.attribute_macro_f1",
            "listing.hallucination_at_half",  # at equal completion: to state less is no merit
            "refine.attribute_f1",
            "listing.hallucination_rate",
            "refine.untold_attribute_f1",
            "listing.completion_rate",
        ),
        (
            "listing.constrained_hallucination_rate",
            "listing.constrained_attribute_f1",
            "listing.calibration_error",
            "refine.attribute_f1",
        ),
        ("sft", "dpo", "preferences"),
        ("refined", "preferences"),
    ),
)


def groups_of(systems: Iterable[str]) -> list[SystemGroup]:
    """The pages of ``systems``, in their usual order; a system that belongs to none has its own."""
    wanted = list(systems)
    found = [group for group in GROUPS if set(group.systems) & set(wanted)]
    known = {name for group in GROUPS for name in group.systems}
    others = [name for name in wanted if name not in known]
    return found + [SystemGroup(name, system_label(name), "", "", (name,), (), (), (), ()) for name in others]
