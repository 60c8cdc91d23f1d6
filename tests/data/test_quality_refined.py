"""The gate of refined listings, through its stage: in the schema, nothing added, every change explained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.catalog.format.records import PRODUCTS
from components.stage import frame
from tests.data.stage_workspace import enter

pytest.importorskip("great_expectations")

N = 30
PARAMS: dict[str, Any] = {
    "max_title_chars": 60,
    "max_answer_chars": 200,
    "min_kept_values": 0.7,
    "min_kept_words": 0.7,
    "max_changed_values": 0.25,
    "max_changed_titles": 0.5,
    "min_instructions": 10,
    "min_pairs": 5,
    "max_kind_share": 0.7,
    "page_examples": 3,
}
SCHEMA = {
    "categories": {
        "tools": {
            "product_types": ["saw"],
            "attributes": {
                "hue": {"type": "enum", "values": ["teal", "ochre"], "required": True},
                "length_cm": {"type": "number", "required": False},
                "use": {"type": "enum", "values": ["sea", "home", "air"], "multiple": True},
            },
        }
    }
}
DECISIONS = pa.schema(
    [
        *[(n, pa.string()) for n in ("product_id", "field", "name", "value", "decision", "new_value")],
        ("judge", pa.string()),
        ("reason", pa.string()),
        ("support", pa.float32()),
    ]
)


def pairs(**attributes: str) -> list[dict[str, str]]:
    return [{"name": n, "value": v} for n, v in sorted(attributes.items())]


def decision(i: int, field: str, name: str, value: str, verb: str = "keep", new: str | None = None) -> Any:
    changed = {"keep": value, "drop": ""}.get(verb, new)
    row = {"product_id": f"s{i:02d}", "field": field, "name": name, "value": value, "decision": verb}
    return row | {"new_value": changed, "judge": "test", "reason": "because", "support": None}


class World:
    """A checked catalogue with refined listings and preference pairs, to break before they are written."""

    def __init__(self, root: Path) -> None:
        self.root, self.params = root, dict(PARAMS)
        self.sold = [self._product(i, ("train", "test")[i % 3 == 2]) for i in range(N)]
        columns = ("product_id", "split", "category", "product_type", "title", "attributes")
        self.listings: list[dict[str, Any]] = [
            {name: p[name] for name in columns} | {"visible": ["hue"]} for p in self.sold
        ]
        self.decisions = [
            row
            for i in range(N)
            for row in (
                decision(i, "attributes", "hue", "teal"),
                decision(i, "attributes", "length_cm", str(i)),
                decision(i, "title", "0", "Teal"),
                decision(i, "title", "1", "saw"),
            )
        ]
        self.instructions = [
            {"product_id": p["product_id"], "split": p["split"], "grain": "listing", "prompt": "Write it."}
            | {"answer": self._answer(i)}
            for i, p in enumerate(self.sold)
        ]
        self.pairs = [self._pair(i) for i in range(N) if i % 3 != 2]

    @staticmethod
    def _answer(i: int, hue: str = "teal", kind: str = "saw") -> str:
        attributes = {"hue": hue, "length_cm": i}
        return json.dumps({"type": kind, "attributes": attributes, "title": "Teal saw"})

    def _pair(self, i: int) -> dict[str, Any]:
        return {
            "product_id": f"s{i:02d}",
            "category": "tools",
            "prompt": "Write it.",
            "chosen": self._answer(i),
            "rejected": self._answer(i, "ochre"),
            "kind": ("seller", "sampled")[i % 2],
            "checks": ["contradicts: hue"],
        }

    @staticmethod
    def _product(i: int, split: str) -> dict[str, Any]:
        return {
            "product_id": f"s{i:02d}",
            "split": split,
            "title": "Teal saw",
            "category": "tools",
            "product_type": "saw",
            "attributes": pairs(hue="teal", length_cm=str(i)),
            "group_id": f"g{i}",
        }

    def run(self, command: str) -> int:
        for folder in ("data/checked/products", "data/refined", "data/preferences"):
            (self.root / folder).mkdir(parents=True)
        sold = pa.Table.from_pylist(self.sold, schema=PRODUCTS)
        pq.write_table(sold, self.root / "data/checked/products/part-00000.parquet")
        (self.root / "data/checked/schema.json").write_text(json.dumps(SCHEMA))
        refined = self.root / "data/refined"
        pq.write_table(pa.Table.from_pylist(self.listings), refined / "products.parquet")
        pq.write_table(pa.Table.from_pylist(self.decisions, schema=DECISIONS), refined / "decisions.parquet")
        pq.write_table(pa.Table.from_pylist(self.instructions), refined / "instructions.parquet")
        if self.pairs:
            pq.write_table(pa.Table.from_pylist(self.pairs), self.root / "data/preferences/pairs.parquet")
        (self.root / "params.yaml").write_text(json.dumps({"listing_quality": self.params}))
        return frame.main([f"quality.{command}"])


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(enter(tmp_path, monkeypatch))


@pytest.mark.parametrize("command", ["refined", "preferences"])
def test_sound_data_pass_and_the_report_names_what_it_judged(world: World, command: str) -> None:
    assert world.run(command) == 0
    report = json.loads((world.root / f"reports/quality/{command}.json").read_text())
    assert report["passed"] is True and report["failures"] == []
    assert report["inputs"] == {
        file: hashlib.sha256((world.root / file).read_bytes()).hexdigest() for file in report["inputs"]
    }
    assert len(report["inputs"]) == {"refined": 3, "preferences": 1}[command]
    assert "Passed" in (world.root / f"reports/quality/{command}.html").read_text()


def with_uses(w: World, told: list[str], kept: tuple[str, ...] = ("sea", "home")) -> None:
    """Product 3 states two uses; its refined listing keeps some, and ``told`` is what texts say."""
    uses = [{"name": "use", "value": use} for use in ("home", "sea")]
    w.sold[3]["attributes"] = [*w.sold[3]["attributes"], *uses]
    w.listings[3]["attributes"] = [*w.listings[3]["attributes"], *(u for u in uses if u["value"] in kept)]
    w.decisions += [
        decision(3, "attributes", "use", use, "keep" if use in kept else "drop") for use in ("home", "sea")
    ]
    text = json.dumps({"title": "Teal saw", "attributes": {"hue": "teal", "length_cm": 3, "use": told}})
    w.instructions[3]["answer"] = w.pairs[2]["chosen"] = text


@pytest.mark.parametrize("command", ["refined", "preferences"])
@pytest.mark.parametrize("kept", [("sea", "home"), ("sea",)])
def test_each_of_several_values_has_its_decision(world: World, command: str, kept: tuple[str, ...]) -> None:
    with_uses(world, list(kept), kept)
    assert world.run(command) == 0


@pytest.mark.parametrize(
    ("command", "told", "words"),
    [
        ("refined", ["home", "sea"], "its attributes are not those"),
        ("refined", ["sea"], "its attributes are not those"),
        ("preferences", ["sea", "moon"], "'moon' is not one of its 3 values"),
        ("preferences", [], "is not one of its 3 values"),
    ],
)
def test_a_set_that_is_told_wrongly_stops_the_pipeline(
    world: World, capsys: pytest.CaptureFixture[str], command: str, told: list[str], words: str
) -> None:
    with_uses(world, told)
    assert world.run(command) == 3
    said = capsys.readouterr().err
    said += (world.root / f".vitrine/quality/quality.{command}/summary.json").read_text()
    assert words in said


def restate(w: World, i: int, **attributes: str) -> None:
    w.listings[i]["attributes"] = pairs(**attributes)


def normalise(w: World) -> None:
    restate(w, 3, hue="teal", length_cm="300")
    w.decisions[4 * 3 + 1] = decision(3, "attributes", "length_cm", "3", "normalise", "300")
    w.instructions[3]["answer"] = w._answer(300)


def drop_many(w: World) -> None:
    for i in range(20):
        restate(w, i, hue="teal")
        w.decisions[4 * i + 1] = decision(i, "attributes", "length_cm", str(i), "drop")
        w.instructions[i]["answer"] = json.dumps({"title": "Teal saw", "attributes": {"hue": "teal"}})


def test_an_explained_change_passes(world: World) -> None:
    normalise(world)
    assert world.run("refined") == 0


def rewrite_many(w: World) -> None:
    for i in range(20):
        restate(w, i, hue="teal", length_cm=f"{i}0")
        w.decisions[4 * i + 1] = decision(i, "attributes", "length_cm", str(i), "normalise", f"{i}0")
        w.instructions[i]["answer"] = w._answer(10 * i)


def retitle_many(w: World) -> None:
    for i in range(20):
        w.listings[i]["title"] = "Teal axe"
        w.decisions[4 * i + 3] = decision(i, "title", "1", "saw", "normalise", "axe")
        w.instructions[i]["answer"] = w._answer(i).replace("saw", "axe")


BROKEN: dict[str, tuple[Callable[[World], Any], str]] = {
    "a value outside the schema": (lambda w: restate(w, 3, hue="red", length_cm="3"), "fit the schema"),
    "an attribute that is none": (
        lambda w: restate(w, 3, hue="teal", length_cm="3", x="1"),
        "fit the schema",
    ),
    "an attribute added": (
        lambda w: w.sold[3].update(attributes=pairs(hue="teal")),
        "attributes.length_cm is not of the seller",
    ),
    "a word added": (lambda w: w.listings[3].update(title="Teal saw new"), "more words than the seller's"),
    "an attribute twice": (
        lambda w: w.listings[3].update(attributes=[*pairs(hue="teal"), *pairs(hue="teal")]),
        "given once",
    ),
    "a change without a decision": (
        lambda w: restate(w, 3, hue="ochre", length_cm="3"),
        "to other attributes",
    ),
    "no decision at all": (lambda w: w.decisions.pop(12), "no decision about attributes.hue"),
    "a decision about nothing": (
        lambda w: w.decisions.append(decision(3, "attributes", "x", "1")),
        "which the seller has not",
    ),
    "a title changed in silence": (lambda w: w.listings[3].update(title="Saw"), "to another title"),
    "no reason": (lambda w: w.decisions[3].update(reason=" "), "no reason"),
    "an unknown decision": (lambda w: w.decisions[3].update(decision="add"), "is unknown"),
    "a drop that keeps": (
        lambda w: w.decisions[3].update(decision="drop", new_value="saw"),
        "does not fit its new value",
    ),
    "an impossible support": (lambda w: w.decisions[0].update(support=float("nan")), "no probability"),
    "another split": (lambda w: w.listings[3].update(split="validation"), "differ from the catalogue's"),
    "another type": (lambda w: w.listings[3].update(product_type="axe"), "differ from the catalogue's"),
    "visible but not there": (lambda w: w.listings[3].update(visible=["size"]), "which it has not"),
    "a product left out": (lambda w: w.listings.pop(), "every checked product is refined"),
    "a product twice": (lambda w: w.listings.append(w.listings[-1]), "a product is refined once"),
    "a strange product": (lambda w: w.listings[3].update(product_id="zz"), "is a checked one"),
    "out of order": (lambda w: w.listings.reverse(), "in catalogue order"),
    "a title too long": (
        lambda w: (w.sold[3].update(title="x" * 61), w.listings[3].update(title="x" * 61)),
        "at most 60 characters",
    ),
    "too much dropped": (drop_many, "are left"),
    "too many values rewritten": (rewrite_many, "are written in another form"),
    "too many titles changed": (retitle_many, "titles at most 50% are changed"),
    "an answer of another listing": (
        lambda w: w.instructions[3].update(answer=w._answer(3, "ochre")),
        "are not those of the refined listing",
    ),
    "an answer of another type": (
        lambda w: w.instructions[3].update(answer=w._answer(3, kind="axe")),
        "its type is not that",
    ),
    "an answer that is no JSON": (lambda w: w.instructions[3].update(answer="{"), "is not JSON"),
    "a blank question": (lambda w: w.instructions[3].update(prompt=" "), "a question is asked"),
    "an endless answer": (lambda w: w.instructions[3].update(answer="x" * 201, grain="title"), "1 to 200"),
    "an instruction of another split": (lambda w: w.instructions[0].update(split="test"), "its split"),
    "too few instructions": (lambda w: w.params.update(min_instructions=500), "at least 500 instructions"),
    "a column missing": (lambda w: [r.pop("visible") for r in w.listings], "has no column visible"),
    "nothing refined": (
        lambda w: w.params.update(no_such_key=1),
        "listing_quality.no_such_key: unknown key",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_refinement_stops_the_pipeline(
    world: World, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    breaks, words = BROKEN[name]
    breaks(world)
    assert world.run("refined") == (2 if "unknown key" in words else 3)
    said = capsys.readouterr().err
    summary = world.root / ".vitrine/quality/quality.refined/summary.json"
    said += summary.read_text() if summary.exists() else ""
    assert words in said
    assert not (world.root / "reports").exists()


BAD_PAIRS: dict[str, tuple[Callable[[World], Any], str]] = {
    "equal sides": (lambda w: w.pairs[3].update(rejected=w.pairs[3]["chosen"]), "both sides are equal"),
    "equal but for spaces": (
        lambda w: w.pairs[3].update(
            rejected=w.pairs[3]["chosen"].replace(" ", "  ").replace("Teal  s", "Teal s")
        ),
        "both sides are equal",
    ),
    "a blank side": (lambda w: w.pairs[3].update(rejected=" "), "a side is blank"),
    "a chosen side that is no listing": (lambda w: w.pairs[3].update(chosen="a saw"), "is not a JSON object"),
    "a chosen side out of schema": (
        lambda w: w.pairs[3].update(chosen=w._answer(4, "red")),
        "is not one of its 2 values",
    ),
    "a held-out product": (lambda w: w.pairs[3].update(product_id="s02"), "of the test split"),
    "an unknown product": (lambda w: w.pairs[3].update(product_id="zz"), "not in the catalogue"),
    "another category": (lambda w: w.pairs[3].update(category="toys"), "its category"),
    "no question": (lambda w: w.pairs[3].update(prompt=""), "the question is blank"),
    "no kind": (lambda w: w.pairs[3].update(kind=""), "its kind is not named"),
    "unchecked": (lambda w: w.pairs[3].update(checks=[]), "nothing says why"),
    "twice": (lambda w: w.pairs.append(w.pairs[3]), "no pair is there twice"),
    "one kind only": (lambda w: [p.update(kind="seller") for p in w.pairs], "are of one kind"),
    "too few": (lambda w: w.pairs.__delitem__(slice(4, None)), "at least 5 pairs"),
    "too long": (lambda w: w.pairs[3].update(rejected="x" * 201), "at most 200 characters"),
    "none": (lambda w: w.pairs.clear(), "does not exist"),
}


@pytest.mark.parametrize("name", BAD_PAIRS)
def test_bad_pairs_stop_the_pipeline(world: World, capsys: pytest.CaptureFixture[str], name: str) -> None:
    breaks, words = BAD_PAIRS[name]
    breaks(world)
    assert world.run("preferences") == 3
    said = capsys.readouterr().err
    said += (world.root / ".vitrine/quality/quality.preferences/summary.json").read_text()
    assert words in said
    assert not (world.root / "reports").exists()
