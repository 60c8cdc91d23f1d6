"""What names mean, for readers who did not write them: systems, variants, measures, stages.

A name that is not here (a study's row, an attribute of somebody's catalogue) is shown without an explanation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from components.report.figures.figures import Figures

SYSTEMS = {
    "encoder": "The dual encoder, taught on what sellers wrote and buyers asked: it searches pictures by "
    "text and names attributes of a picture. All three systems start from it.",
    "ground": "Where in its picture is the product? A box per picture, asked for with the product type "
    "alone, compared with the true box.",
    "vlclip": "The encoder, trained further: on whole pictures with the product's box beside them and "
    "clarified texts (full), or on whole pictures and sellers' own texts (raw). All rows answer the same "
    "held-out queries.",
    "fusion": "A text query ranks products. Each row scores a product by its text, its picture, or both.",
    "refine": "What sellers wrote, cleaned: each word and value is kept, normalised or dropped, nothing is "
    "added. Compared with the truth.",
    "listing": "A model reads a photo and writes title and attributes, which are compared with the truth. "
    "Measures are of free writing; those called “constrained” are of writing held to the category's schema.",
}

# In the order of the tables' columns: the system, its variants, then its baselines from strong to weak.
VARIANTS = {
    "encoder": {
        "fine_tuned": "the encoder; it has to see what type a product is of",
        "fine_tuned_typed": "the encoder, told every product's type",
        "fine_tuned_inferred": "the encoder, and every product's type likelier or not by the query's text",
        "fine_tuned_normalised": "the encoder, and products that are near to every text held back",
        "fine_tuned_inferred_normalised": "both: types inferred, and products near to every text held back",
        "colour_histogram": "ranks by the colours named in the query, told every product's type",
        "colour_histogram_untyped": "the same, not told the types",
        "image_centre": "points at the middle of every picture",
        "untrained": "the same network with random weights",
        "linear_probe": "attributes read off the frozen features of pictures, without texts",
    },
    "ground": {
        "dense_head": "a box from the head on the encoder's maps that composed scenes taught",
        "foreground": "the largest part that differs in colour from the picture's rim",
        "centre_crop": "a fixed box in the middle",
        "whole_image": "the whole picture",
        "random_box": "a box at random",
    },
    "vlclip": {
        "full": "sees whole picture and box together, trained on clarified texts",
        "raw": "trained on whole pictures and sellers' texts",
        "untrained": "the encoder as it was before this training",
        "chance": "a random order",
    },
    "fusion": {
        "moe_bilinear": "a gated mixture of text, image and cross experts, plus a bilinear term, and BM25",
        "moe_bilinear_vectors": "the same network's vectors alone, without BM25",
        "concat_mlp": "a network on both vectors, side by side",
        "fixed_weights": "text and picture in one fixed proportion, chosen on validation",
        "average": "the mean of both vectors",
        "text_only": "the product's text alone",
        "image_only": "the product's picture alone",
        "hybrid_image": "BM25, text and picture scores in one weighted sum, chosen on validation",
        "hybrid_image_type": "the same, and how likely the product's type is by the query's text",
        "hybrid": "BM25 and the product's text, joined by their ranks",
        "bm25": "keyword search, without any learning",
    },
    "refine": {"refined": "after refinement", "seller": "as the seller wrote it"},
    "listing": {
        "dpo": "sft_refined, then taught by preferences",
        "sft_refined": "tuned on refined listings",
        "sft_raw": "tuned on sellers' own listings",
        "linear_probe": "attributes read off frozen features by a linear probe; a copied title",
        "nearest_vote": "the majority of the nearest training pictures' listings",
        "nearest_neighbour": "a copy of the nearest training picture's listing",
        "zero_shot": "the model before any tuning",
    },
}

# What a row is called on the pages; a row that is not here keeps its own name.
LABELS = {
    ("encoder", "fine_tuned"): "the trained encoder",
    ("encoder", "fine_tuned_typed"): "the encoder, told the types",
    ("encoder", "fine_tuned_inferred"): "the encoder, types inferred",
    ("encoder", "fine_tuned_normalised"): "the encoder, hubs held back",
    ("encoder", "fine_tuned_inferred_normalised"): "the encoder, types inferred and hubs held back",
    ("encoder", "colour_histogram"): "a colour histogram, told the types",
    ("encoder", "colour_histogram_untyped"): "a colour histogram",
    ("encoder", "image_centre"): "the picture's centre",
    ("encoder", "untrained"): "the untrained network",
    ("encoder", "linear_probe"): "a linear probe",
    ("ground", "dense_head"): "the dense head",
    ("ground", "foreground"): "the foreground by colour",
    ("ground", "centre_crop"): "a box in the middle",
    ("ground", "whole_image"): "the whole picture",
    ("ground", "random_box"): "a random box",
    ("vlclip", "full"): "VL-CLIP",
    ("vlclip", "raw"): "training on whole pictures and sellers' texts",
    ("vlclip", "untrained"): "the encoder",
    ("vlclip", "chance"): "a random order",
    ("fusion", "moe_bilinear"): "the gated network",
    ("fusion", "moe_bilinear_vectors"): "the gated network without BM25",
    ("fusion", "concat_mlp"): "the concatenating network",
    ("fusion", "fixed_weights"): "fixed weights",
    ("fusion", "average"): "the mean of both vectors",
    ("fusion", "text_only"): "text alone",
    ("fusion", "image_only"): "picture alone",
    ("fusion", "hybrid_image"): "a sum of BM25, text and picture",
    ("fusion", "hybrid_image_type"): "a sum of BM25, text, picture and type",
    ("fusion", "hybrid"): "BM25 and text",
    ("fusion", "bm25"): "BM25",
    ("refine", "refined"): "refined listings",
    ("refine", "seller"): "sellers' own listings",
    ("listing", "dpo"): "OPAL with preferences",
    ("listing", "sft_refined"): "OPAL, tuned on refined listings",
    ("listing", "sft_raw"): "the same, tuned on sellers' listings",
    ("listing", "linear_probe"): "a linear probe",
    ("listing", "nearest_vote"): "a vote of the nearest",
    ("listing", "nearest_neighbour"): "a copy of the nearest",
    ("listing", "zero_shot"): "the untuned model",
}

# Searched for in a metric's name, whole words only; a metric is explained by every one that it holds.
MEASURES = {
    "hits_at": ("HITS@k", "share of queries with a relevant product among the first k"),
    "mrr": ("MRR", "mean of 1 / rank of the first relevant product"),
    "ndcg_at": ("nDCG@k", "how near the first k come to the best order of the judgements; 1 is perfect"),
    "recall_at": ("Recall@k", "share of the relevant products among the first k"),
    "iou": ("IoU", "overlap of the box with the true box: common area / joint area"),
    "pointing": ("Pointing accuracy", "share of pictures where the point lies in the true box"),
    "attribute_accuracy": (
        "Attribute accuracy",
        "share of attributes whose true value the encoder picks among the allowed ones",
    ),
    "attribute_mean_accuracy": ("Mean attribute accuracy", "the same, as a mean over attributes"),
    "attribute_f1": (
        "Attribute F1",
        "F1 of exact pairs of attribute and value against the true ones, mean over products",
    ),
    "attribute_macro_f1": (
        "Attribute macro-F1",
        "F1 of exact pairs of attribute and value, mean over attributes, so that rare ones count alike",
    ),
    "precision": ("Precision", "share of what is given that is right"),
    "recall": ("Recall", "share of what is true that is given"),
    "completion_rate": ("Completion rate", "share of the true attributes that are stated, rightly or not"),
    "picture_reliance": (
        "Picture reliance",
        "log-probability of the true listing under its picture minus under another product's, in nats",
    ),
    "hallucination_rate": ("Hallucination rate", "share of stated values that are wrong; lower is better"),
    "hallucination_at_half": (
        "Hallucination, half of the fields",
        "share of wrong values where half of all fields are filled, by the surest values; lower is better",
    ),
    "hallucination_at_equal": (
        "Hallucination, equal completion",
        "share of wrong values where as many fields are filled as by sft_refined, by the surest values; "
        "lower is better",
    ),
    "risk_coverage_area": (
        "Risk-coverage area",
        "mean rate of wrong values when ever fewer, surer values are stated; lower is better",
    ),
    "calibration_error": (
        "Calibration error",
        "how far a value's probability is from how often such values are right, on average; lower is better",
    ),
    "no_wrong_value": (
        "No wrong value",
        "share of listings that state something and nothing wrong, where half of all fields are filled",
    ),
    "fallback_rate": ("Fallback rate", "share of pictures kept whole because no box was good enough"),
    "correct": ("Correct", "share of listings within the schema that state nothing wrong"),
    "rouge_l": ("ROUGE-L", "longest common word sequence with the true title, as an F-measure"),
    "exact": ("Title exact", "share of titles equal to the true one"),
    "textual": ("Textual", "queries in words that listings use"),
    "visual": ("Visual", "queries that describe what a picture shows"),
    "attributes": ("Attributes", "queries in words of attributes, such as a colour and a type"),
    "derived": ("Derived", "queries derived from the catalogue's tables, which no shopper wrote"),
    "titles": ("Titles", "products' own titles as queries"),
    "known_text": ("Known text", "queries whose very text stands among the training queries"),
    "new_text": ("New text", "queries whose text no training query has"),
    "pooled": ("Pooled", "queries and titles together"),
    "cluttered": ("cluttered", "pictures with other things beside the product"),
    "plain": ("plain", "pictures of the product alone"),
    "plain_alone": ("plain alone", "no other pictures among those that are ranked"),
    "desirability": ("Desirability", "judged by what shoppers click, put in the cart and buy"),
    "sparse_text": ("Sparse text", "among products with few words"),
    "picture_missing": ("Picture missing", "without the pictures of some products"),
    "text_degraded": ("Text degraded", "with products' texts made worse"),
    "text_missing": ("Text missing", "without the texts of some products"),
    "similar": ("Similar", "nearest products of the same type and true colour, as a share of those possible"),
    "untold": ("Untold", "only values that the seller's title does not state"),
    "constrained": ("Constrained", "written within the category's schema, which a grammar enforces"),
}  # fmt: skip

STAGES = {
    "encoder": "the dual encoder",
    "vlclip_raw": "VL-CLIP, whole pictures and sellers' texts",
    "vlclip_full": "VL-CLIP, whole pictures with boxes beside, and clarified texts",
    "align_text": "Fusion: queries with texts",
    "align_image": "Fusion: queries with pictures",
    "fuse_concat_mlp": "Fusion: the concatenating network",
    "fuse_moe_bilinear": "Fusion: the gated network",
    "sft_raw": "OPAL, tuned on sellers' listings",
    "sft_refined": "OPAL, tuned on refined listings",
    "dpo": "OPAL, taught by preferences",
}
KINDS = {
    "textual": "Textual queries, in words that listings use",
    "visual": "Visual queries, which describe what a picture shows",
    "title": "Products' own titles as queries",
    "titles": "Products' own titles as queries",
    "attributes": "Queries in words of attributes, such as a colour and a type",
    "derived": "Queries derived from the catalogue's tables; no shopper wrote them",
}
GATES = {
    "catalog": "the catalogue, before anything learns from it",
    "embeddings": "the encoder's vectors, before they are indexed",
    "refined": "refined listings, before a model is tuned on them",
    "preferences": "preference pairs, before DPO",
}


def in_order(figures: Figures) -> list[str]:
    """The variants of a system, its main one first, then as in VARIANTS, then the others as they come."""
    known = list(VARIANTS.get(figures.system, {}))
    first, *rest = figures.variants
    return [first, *sorted(rest, key=lambda name: known.index(name) if name in known else len(known))]


def measures(metrics: Iterable[str]) -> list[tuple[str, str]]:
    """(name, meaning) of every measure and slice that the names of ``metrics`` hold, in their first order."""
    names = [f"_{metric}_" for metric in metrics]
    found = []
    for word, entry in MEASURES.items():
        held = [name for name in names if f"_{word}_" in name]
        if word in ("recall", "precision"):  # recall_at_100 is explained by itself
            held = [name for name in held if f"_{word}_at_" not in name]
        found += [entry] if held else []
    return found


def label(system: str, variant: str) -> str:
    """What a row is called: words, or its own name without underscores."""
    return LABELS.get((system, variant)) or variant.replace("_", " ")


def meaning(metric: str) -> str:
    """What one metric means, its slices in brackets; empty where none of its words is known."""
    cut = re.search(r"_at_(\d+)", metric)
    found = [text.replace("first k", f"first {cut[1]}") if cut else text for _, text in measures([metric])]
    return f"{found[0]} ({'; '.join(found[1:])})" if found[1:] else "".join(found)
