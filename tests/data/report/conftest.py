"""A small fabricated workspace: drawn products and truth, results of three variants, curves, gates."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw

from components.catalog.format.records import PRODUCTS, QRELS, QUERIES, TRUTH, WITH_MORE_IMAGES
from components.report.page.report import Report
from components.report.params import ReportParams

TYPES = {"mug": "kitchen", "lamp": "living", "shirt": "clothes"}
COLOURS = {"red": (200, 40, 40), "green": (40, 150, 70), "blue": (40, 70, 190), "yellow": (230, 200, 60)}
BOX = (0.25, 0.2, 0.75, 0.8)


def picture(colour: str, kind: str, px: int = 48) -> bytes:
    image = Image.new("RGB", (px, px), (238, 234, 226))
    box = [BOX[0] * px, BOX[1] * px, BOX[2] * px, BOX[3] * px]
    draw = ImageDraw.Draw(image)
    (draw.ellipse if kind == "lamp" else draw.rectangle)(
        box, fill=COLOURS[colour], outline=(60, 50, 40), width=2
    )
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def pairs(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in sorted(values.items())]


def products(count: int = 24) -> list[dict[str, Any]]:
    rows = []
    for index in range(count):
        kind, colour = list(TYPES)[index % 3], list(COLOURS)[index % 4]
        rows.append(
            {
                "product_id": f"p{index:03}",
                "split": ("train", "validation", "test")[index // 3 % 3],
                "image": {"bytes": picture(colour, kind), "path": ""},
                "title": f"{colour} {kind} number {index}",
                "description": "",
                "category": TYPES[kind],
                "product_type": kind,
                "attributes": pairs({"colour": colour}),
                "group_id": f"g{index // 2:03}",
            }
        )
    return rows


def truth(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "product_id": row["product_id"],
            "title": f"True {row['title']}",
            "description": "",
            "attributes": pairs({"colour": "crimson", "material": "clay"}),
            "box": list(BOX),
            "scene": "plain",
            "noise": [{"field": "attributes.colour", "kind": "attribute_wrong.other", "detail": ""}],
        }
        for row in rows
    ]


def per_query(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Query q0 finds its product at rank 2, q1 finds nothing relevant; p004 stands for itself."""
    ids = [row["product_id"] for row in rows]
    found = {"q0": [ids[1], ids[0], *ids[2:10]], "q1": ids[10:20], "p004": [ids[4], *ids[10:19]]}
    kinds = {"q0": ("search", "textual"), "q1": ("search", "visual"), "p004": ("title_to_image", "")}
    results = []
    for variant in ("untrained", "fine_tuned", "colour_histogram"):
        for query_id, top in found.items():
            task, kind = kinds[query_id]
            scores = {"hits_at_5": 0.0 if query_id == "q1" else 1.0, "mrr": 0.0 if query_id == "q1" else 0.5}
            results.append(
                {"variant": variant, "task": task, "query_id": query_id, "kind": kind} | scores | {"top": top}
            )
    return results


def metrics() -> dict[str, Any]:
    def cell(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 0.03, "high": value + 0.03, "n": 1050}

    def test(metric: str, b: str, difference: float) -> dict[str, Any]:
        bounds = {"low": difference - 0.03, "high": difference + 0.03, "p": 0.0002, "n": 1050}
        return {"metric": metric, "a": "fine_tuned", "b": b, "difference": difference} | bounds

    return {
        "untrained": {"hits_at_5": cell(0.05), "mrr": cell(0.04)},
        "fine_tuned": {"hits_at_5": cell(0.61), "mrr": cell(0.42), "pointing": cell(0.88)},
        "colour_histogram": {"hits_at_5": cell(0.40), "mrr": cell(0.41)},
        "_tests": [
            test("hits_at_5", "untrained", 0.56),
            test("hits_at_5", "colour_histogram", 0.21),
            test("mrr", "untrained", 0.38),
            test("mrr", "colour_histogram", 0.01),
        ],
    }


def table(path: Path, rows: list[dict[str, Any]], schema: pa.Schema | None = None, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, **options)


def parameters(**changes: Any) -> dict[str, Any]:
    return {
        "title": "A small shop",
        "profile": "tiny",
        "seed": 3,
        "systems": {"encoder": "fine_tuned"},
        "pretrained": False,
        "curves": ["encoder"],
        "quality": ["catalog"],
        "headline": {"encoder.hits_at_5": "encoder.fine_tuned.hits_at_5"},
        "claims": [
            {
                "system": "encoder",
                "metric": metric,
                "ours": "fine_tuned",
                "relation": "above",
                "baseline": "colour_histogram",
            }
            for metric in ("hits_at_5", "mrr")
        ],
        "claim_margin": 0.01,
        "retrieval": {
            "systems": {"encoder": {"metric": "hits_at_5", "success_from": 1.0}},
            "scores": ["mrr"],
            "relevant_from": 1,
            "top": 5,
            "failures": 2,
            "successes": 2,
        },
        "grounding": {
            "variants": {"encoder": "fine_tuned"},
            "minimum_iou": 0.5,
            "fallbacks": 1,
            "failures": 2,
            "successes": 2,
            "unjudged": 2,
        },
        "listings": None,
        "gates": None,
        "catalogue": {"per_type": 1, "types": 3},
        "thumbnail_px": 32,
        "jpeg_quality": 70,
        "text_chars": 120,
        "curve_points": 50,
        "max_page_bytes": 500_000,
    } | changes


def everything(report: Report) -> str:
    """All pages of a report behind one another."""
    return "\n".join(report.pages.values())


class Workspace:
    """The fabricated files under ``root``; each part can be written again, changed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.products = products()
        self.truth = truth(self.products)
        self.per_query = per_query(self.products)
        self.metrics = metrics()
        self.queries = [
            {"query_id": "q0", "text": "a red mug", "kind": "textual", "split": "test"},
            {"query_id": "q1", "text": "something round", "kind": "visual", "split": "test"},
        ]
        self.qrels = [
            {"query_id": "q0", "product_id": "p000", "relevance": 3, "desirability": None},
            {"query_id": "q0", "product_id": "p023", "relevance": 1, "desirability": None},
            {"query_id": "q1", "product_id": "p022", "relevance": 2, "desirability": None},
        ]
        self.pointings = [
            {
                "product_id": "p001",
                "x": 0.5,
                "y": 0.5,
                "hit": True,
                "box": list(BOX),
                "found_box": [0.3, 0.3, 0.7, 0.7],
            },
            {"product_id": "p002", "x": 0.05, "y": 0.9, "hit": False, "box": list(BOX), "found_box": None},
        ]

    def write(self) -> Path:
        root = self.root
        self.write_catalogue()
        table(root / "data/truth/truth.parquet", self.truth, TRUTH)
        table(root / "results/per_query/encoder/encoder.parquet", self.per_query)
        table(root / "results/per_query/encoder/pointing.parquet", self.pointings)
        self.json("metrics/encoder.json", self.metrics)
        kinds = {
            "products": {"rows": 30, "quarantined": 6, "reasons": {"unknown colour": 4, "no picture": 2}}
        }
        self.json("reports/quality/catalog.json", {"passed": True, "kinds": kinds, "more": [1]})
        (root / "plots").mkdir(exist_ok=True)
        lines = [
            f"{step},{2 * math.exp(-step / 40):.4f},{'' if step % 10 else 0.01 * step}" for step in range(60)
        ]
        (root / "plots/encoder.csv").write_text(
            "step,train_loss,validation_hits_at_5\n" + "\n".join(lines) + "\n"
        )
        return root

    def write_catalogue(self) -> None:
        folder, half = self.root / "data/checked", len(self.products) // 2
        form = WITH_MORE_IMAGES if any("more_images" in row for row in self.products) else PRODUCTS
        table(folder / "products/part-00000.parquet", self.products[:half], form, row_group_size=5)
        table(folder / "products/part-00001.parquet", self.products[half:], form, row_group_size=5)
        table(folder / "queries.parquet", self.queries, QUERIES)
        table(folder / "qrels.parquet", self.qrels, QRELS)

    def json(self, name: str, value: object) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "shop")
    made.write()
    return made


@pytest.fixture
def params() -> Callable[..., ReportParams]:
    return lambda **changes: ReportParams.model_validate(parameters(**changes))


def cell(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.03, "high": value + 0.03, "n": 1050}


def gates(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Textual queries find the first half of the products, which the gate reads; visual ones the other."""
    found = []
    for index, row in enumerate(rows):
        kind, text = ("textual", 0.7) if index < len(rows) // 2 else ("visual", 0.2)
        found.append(
            {"variant": "moe", "query_id": f"q{index % 2}", "kind": kind, "rank": 1}
            | {"product_id": row["product_id"], "category": row["category"]}
            | {"text": text, "image": 0.9 - text, "cross": 0.1}
        )
    return found


def listing_rows(rows: list[dict[str, Any]], variant: str = "dpo") -> list[dict[str, Any]]:
    """p000 is written rightly, p001 invents a value and doubts another, p002 is cut short.

    The seller has a wrong colour.
    """
    right = '{"title":"Red mug","type":"mug","attributes":{"colour":"crimson","handles":2}}'
    wrong = right.replace("crimson", "teal").replace('"type":"mug"', '"type":"lamp"')
    answers = [right, wrong, '{"title":"Red m']
    return [
        {"variant": variant, "product_id": row["product_id"], "category": row["category"]}
        | {"seller_title": "SELLER'S WORDS", "seller_attributes": pairs({"colour": "puce"})}
        | {"refined_title": "Refined words", "refined_attributes": pairs({"colour": "crimson"})}
        | {"truth_title": "True words", "truth_attributes": pairs({"colour": "crimson", "handles": "2"})}
        | {"raw_text": answer, "constrained_text": answer, "confidence": [{"name": "colour", "value": 0.875}]}
        | {"stated_title": "Red mug, stated", "point": "Stated are the surest values."}
        | {"left_out": [{"name": "handles", "value": 0.25}] if index == 1 else []}
        for index, (row, answer) in enumerate(zip(rows, answers, strict=False))
    ]


class ShopOfAll(Workspace):
    """Systems with rankings and without, boxes with fallbacks, generated listings, gate weights."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.gates = gates(self.products)
        self.listings = listing_rows(self.products)
        self.listing_metrics: dict[str, Any] = {
            "nearest": {"attribute_macro_f1": cell(0.5), "hallucination_rate": cell(0.3)},
            "dpo": {"attribute_macro_f1": cell(0.6), "hallucination_rate": cell(0.2)},
            "_tests": [
                {"metric": "attribute_macro_f1", "a": "dpo", "b": "nearest", "p": 0.001, "n": 900}
                | {"difference": 0.1, "low": 0.05, "high": 0.15},
                {"metric": "hallucination_rate", "a": "nearest", "b": "dpo", "p": 0.001, "n": 1050}
                | {"difference": 0.1, "low": 0.05, "high": 0.15},
            ],
        }
        boxed = {"x": 0.5, "y": 0.5, "hit": True, "box": list(BOX), "variant": "dense_head"}
        self.boxes: list[dict[str, Any]] = [
            boxed | {"product_id": "p003", "found_box": list(BOX), "iou": 1.0, "fallback": False},
            boxed | {"product_id": "p004", "found_box": [0.0, 0.0, 0.4, 0.4], "iou": 0.1, "fallback": False},
            boxed | {"product_id": "p005", "found_box": [0.0, 0.0, 1.0, 1.0], "iou": 0.3, "fallback": True},
        ]
        found = {"box": [0.1, 0.2, 0.6, 0.9], "point": [0.3, 0.4], "fallback": False, "reason": ""}
        whole = {"box": None, "point": None, "fallback": True, "reason": "no patch stands out"}
        self.reasons = [{"product_id": "p004"} | found, {"product_id": "p005"} | whole]

    def write(self) -> Path:
        root = super().write()
        self.json("metrics/listing.json", self.listing_metrics)
        table(root / "results/per_query/fusion/gates.parquet", self.gates)
        table(root / "results/per_query/listing/dpo.parquet", self.listings)
        table(root / "results/per_query/vlclip/pointing.parquet", self.boxes)
        table(root / "data/grounding/boxes.parquet", self.reasons)
        return root


def every_system(**changes: Any) -> dict[str, Any]:
    """Parameters that show all of ``ShopOfAll``."""
    claim = {"system": "listing", "ours": "dpo", "baseline": "nearest"}
    base = parameters()
    return base | {
        "systems": {"encoder": "fine_tuned", "listing": "dpo"},
        "claims": [
            *base["claims"],
            claim | {"metric": "attribute_macro_f1", "relation": "above"},
            claim | {"metric": "hallucination_rate", "relation": "below"},
        ],
        "grounding": base["grounding"] | {"variants": {"encoder": "fine_tuned", "vlclip": "dense_head"}},
        "listings": {"variant": "dpo", "count": 5, "picture_px": 40},
        "gates": {"system": "fusion", "variant": "moe"},
    } | changes  # fmt: skip


@pytest.fixture
def shop(tmp_path: Path) -> ShopOfAll:
    made = ShopOfAll(tmp_path / "shop")
    made.write()
    return made
