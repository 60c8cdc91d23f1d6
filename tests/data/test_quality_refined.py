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
from components.quality.params import ListingQualityParams
from components.quality.preferences.stage import check_preferences
from components.quality.refined.stage import check_refined
from components.quality.verdict import Verdict
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

    def told(self, i: int, name: str) -> dict[str, Any]:
        """The decision about an attribute, or about a word by its place, of product ``i``."""
        return next(d for d in self.decisions if (d["product_id"], d["name"]) == (f"s{i:02d}", name))

    def write(self) -> None:
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

    def run(self, command: str) -> int:
        self.write()
        (self.root / "params.yaml").write_text(json.dumps({"listing_quality": self.params}))
        return frame.main([f"quality.{command}"])


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(enter(tmp_path, monkeypatch))


def restate(w: World, i: int, **attributes: str) -> None:
    w.listings[i]["attributes"] = pairs(**attributes)


def normalise(w: World, i: int) -> None:
    restate(w, i, hue="teal", length_cm="300")
    w.told(i, "length_cm").update(decision="normalise", new_value="300")
    w.instructions[i]["answer"] = w._answer(300)


def with_uses(w: World, i: int, told: list[str], kept: tuple[str, ...] = ("sea", "home")) -> None:
    """Product ``i`` states two uses; its refined listing keeps some, and ``told`` is what texts say."""
    uses = [{"name": "use", "value": use} for use in ("home", "sea")]
    w.sold[i]["attributes"] = [*w.sold[i]["attributes"], *uses]
    w.listings[i]["attributes"] = [*w.listings[i]["attributes"], *(u for u in uses if u["value"] in kept)]
    w.decisions += [
        decision(i, "attributes", "use", use, "keep" if use in kept else "drop") for use in ("home", "sea")
    ]
    text = json.dumps({"title": "Teal saw", "attributes": {"hue": "teal", "length_cm": i, "use": told}})
    w.instructions[i]["answer"] = text
    for pair in w.pairs:
        if pair["product_id"] == f"s{i:02d}":
            pair["chosen"] = text


@pytest.mark.parametrize("command", ["refined", "preferences"])
def test_sound_data_pass_and_the_report_names_what_it_judged(world: World, command: str) -> None:
    """Explained changes, and several values with a decision each, are sound."""
    normalise(world, 0)
    with_uses(world, 3, ["sea", "home"])
    with_uses(world, 4, ["sea"], kept=("sea",))
    assert world.run(command) == 0
    report = json.loads((world.root / f"reports/quality/{command}.json").read_text())
    assert report["passed"] is True and report["failures"] == []
    assert report["inputs"] == {
        file: hashlib.sha256((world.root / file).read_bytes()).hexdigest() for file in report["inputs"]
    }
    assert len(report["inputs"]) == {"refined": 3, "preferences": 1}[command]
    assert "Passed" in (world.root / f"reports/quality/{command}.html").read_text()


def faults(verdict: Verdict, places: Callable[[str, int], int]) -> dict[int, list[str]]:
    """Place -> what is said of it, of checks that stop the pipeline."""
    assert not verdict.errors and not any(outcome.error for outcome in verdict.outcomes)
    found: dict[int, list[str]] = {}
    stopping = " ".join(verdict.failures())
    for outcome in verdict.outcomes:
        assert outcome.success or f"'{outcome.check.says}' does not hold" in stopping
        for row, reason in outcome.reasons.items() if outcome.names_rows and outcome.rows > 1 else ():
            said = f"{outcome.check.says}: {reason}"
            found.setdefault(places(outcome.check.kind, row), []).append(said)
    return found


# What is wrong with product i -> a change, and words of what is said of it.
BROKEN: dict[str, tuple[Callable[[World, int], Any], str]] = {
    "a value outside the schema": (lambda w, i: restate(w, i, hue="red", length_cm=str(i)), "fit the schema"),
    "an attribute that is none": (
        lambda w, i: restate(w, i, hue="teal", length_cm=str(i), x="1"),
        "fit the schema",
    ),
    "an attribute added": (
        lambda w, i: w.sold[i].update(attributes=pairs(hue="teal")),
        "attributes.length_cm is not of the seller",
    ),
    "a word added": (
        lambda w, i: w.listings[i].update(title="Teal saw new"),
        "more words than the seller's",
    ),
    "an attribute twice": (
        lambda w, i: w.listings[i].update(attributes=[*pairs(hue="teal"), *pairs(hue="teal")]),
        "given once",
    ),
    "a change without a decision": (
        lambda w, i: restate(w, i, hue="ochre", length_cm=str(i)),
        "to other attributes",
    ),
    "no decision at all": (
        lambda w, i: w.decisions.remove(w.told(i, "hue")),
        "no decision about attributes.hue",
    ),
    "a decision about nothing": (
        lambda w, i: w.decisions.append(decision(i, "attributes", "x", "1")),
        "which the seller has not",
    ),
    "a title changed in silence": (lambda w, i: w.listings[i].update(title="Saw"), "to another title"),
    "no reason": (lambda w, i: w.told(i, "1").update(reason=" "), "no reason"),
    "an unknown decision": (lambda w, i: w.told(i, "1").update(decision="add"), "is unknown"),
    "a drop that keeps": (
        lambda w, i: w.told(i, "1").update(decision="drop", new_value="saw"),
        "does not fit its new value",
    ),
    "an impossible support": (lambda w, i: w.told(i, "hue").update(support=float("nan")), "no probability"),
    "another split": (lambda w, i: w.listings[i].update(split="dev"), "split differ from the catalogue's"),
    "another type": (lambda w, i: w.listings[i].update(product_type="axe"), "type differ from the"),
    "visible but not there": (lambda w, i: w.listings[i].update(visible=["size"]), "which it has not"),
    "a product twice": (lambda w, i: w.listings.append(w.listings[i]), "a product is refined once"),
    "a strange product": (lambda w, i: w.listings[i].update(product_id="zz"), "is a checked one"),
    "a title too long": (
        lambda w, i: (w.sold[i].update(title="x" * 61), w.listings[i].update(title="x" * 61)),
        "at most 60 characters",
    ),
    "an answer of another listing": (
        lambda w, i: w.instructions[i].update(answer=w._answer(i, "ochre")),
        "attributes are not those of the refined listing",
    ),
    "an answer of another type": (
        lambda w, i: w.instructions[i].update(answer=w._answer(i, kind="axe")),
        "its type is not that",
    ),
    "a set in another order": (lambda w, i: with_uses(w, i, ["home", "sea"]), "its attributes are not those"),
    "a set told in part": (lambda w, i: with_uses(w, i, ["sea"]), "its attributes are not those"),
    "an answer that is no JSON": (lambda w, i: w.instructions[i].update(answer="{"), "is not JSON"),
    "a blank question": (lambda w, i: w.instructions[i].update(prompt=" "), "a question is asked"),
    "an endless answer": (
        lambda w, i: w.instructions[i].update(answer="x" * 201, grain="title"),
        "1 to 200",
    ),
    "an instruction of another split": (lambda w, i: w.instructions[i].update(split="dev"), "its split"),
}


def test_each_wrong_refinement_is_found_and_stops_the_pipeline(world: World) -> None:
    for i, (breaks, _) in enumerate(BROKEN.values()):
        breaks(world, i)
    world.write()
    checked = world.root / "data/checked"
    verdict = check_refined(
        world.root / "data/refined", checked, ListingQualityParams.model_validate(world.params)
    )

    def product(kind: str, row: int) -> int:
        if kind == "decisions":
            return int(world.decisions[row]["product_id"][1:])
        return row if row < N else list(BROKEN).index("a product twice")  # which is appended

    found = faults(verdict, product)
    assert sorted(found) == list(range(len(BROKEN)))  # nothing is said of others
    for said, (name, (_, words)) in zip((found[i] for i in sorted(found)), BROKEN.items(), strict=True):
        assert any(words in one for one in said), (name, said)


def drop_many(w: World) -> None:
    for i in range(20):
        restate(w, i, hue="teal")
        w.told(i, "length_cm").update(decision="drop", new_value="")
        w.instructions[i]["answer"] = json.dumps({"title": "Teal saw", "attributes": {"hue": "teal"}})


def rewrite_many(w: World) -> None:
    for i in range(20):
        restate(w, i, hue="teal", length_cm=f"{i}0")
        w.told(i, "length_cm").update(decision="normalise", new_value=f"{i}0")
        w.listings[i]["title"] = "Teal axe"
        w.told(i, "1").update(decision="normalise", new_value="axe")
        w.instructions[i]["answer"] = w._answer(10 * i).replace("saw", "axe")


def disorder(w: World) -> None:
    w.listings.pop()
    w.listings.reverse()
    w.params["min_instructions"] = 500


BAD_SETS: dict[str, tuple[Callable[[World], Any], tuple[str, ...]]] = {
    "too much dropped": (drop_many, ("values at least 70% are left' does not hold (66.7% are left",)),
    "too much changed": (
        rewrite_many,
        ("are written in another form' does not hold", "titles at most 50% are changed' does not hold"),
    ),
    "left out, out of order, too few": (
        disorder,
        ("every checked product is refined", "in catalogue order", "at least 500 instructions"),
    ),
    "a column missing": (lambda w: [r.pop("visible") for r in w.listings], ("has no column visible",)),
}


@pytest.mark.parametrize("name", BAD_SETS)
def test_a_broken_refinement_stops_the_pipeline(world: World, name: str) -> None:
    breaks, words = BAD_SETS[name]
    breaks(world)
    assert world.run("refined") == 3
    summary = json.loads((world.root / ".vitrine/quality/quality.refined/summary.json").read_text())
    assert all(any(one in failure for failure in summary["failures"]) for one in words)
    assert not (world.root / "reports").exists()


def test_an_unknown_parameter_is_told(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.params["no_such_key"] = 1
    assert world.run("refined") == 2
    assert "listing_quality.no_such_key: unknown key" in capsys.readouterr().err


def uses(*told: str) -> Callable[[World, int], None]:
    text = json.dumps({"title": "Teal saw", "attributes": {"hue": "teal", "use": list(told)}})
    return lambda w, i: w.pairs[i].update(chosen=text)


BAD_PAIRS: dict[str, tuple[Callable[[World, int], Any], str]] = {
    "equal sides": (lambda w, i: w.pairs[i].update(rejected=w.pairs[i]["chosen"]), "both sides are equal"),
    "equal but for spaces": (
        lambda w, i: w.pairs[i].update(
            rejected=w.pairs[i]["chosen"].replace(" ", "  ").replace("Teal  s", "Teal s")
        ),
        "both sides are equal",
    ),
    "a blank side": (lambda w, i: w.pairs[i].update(rejected=" "), "a side is blank"),
    "a chosen side that is no listing": (
        lambda w, i: w.pairs[i].update(chosen="a saw"),
        "is not a JSON object",
    ),
    "a chosen side out of schema": (
        lambda w, i: w.pairs[i].update(chosen=w._answer(4, "red")),
        "is not one of its 2 values",
    ),
    "a set out of schema": (uses("sea", "moon"), "'moon' is not one of its 3 values"),
    "an empty set": (uses(), "is not one of its 3 values"),
    "a held-out product": (lambda w, i: w.pairs[i].update(product_id="s02"), "of the test split"),
    "an unknown product": (lambda w, i: w.pairs[i].update(product_id="zz"), "not in the catalogue"),
    "another category": (lambda w, i: w.pairs[i].update(category="toys"), "its category"),
    "no question": (lambda w, i: w.pairs[i].update(prompt=""), "the question is blank"),
    "no kind": (lambda w, i: w.pairs[i].update(kind=""), "its kind is not named"),
    "unchecked": (lambda w, i: w.pairs[i].update(checks=[]), "nothing says why"),
    "twice": (lambda w, i: w.pairs.append(w.pairs[i]), "no pair is there twice"),
    "too long": (lambda w, i: w.pairs[i].update(rejected="x" * 201), "at most 200 characters"),
}


def test_each_bad_pair_is_found_and_stops_the_pipeline(world: World) -> None:
    for i, (breaks, _) in enumerate(BAD_PAIRS.values()):
        breaks(world, i)
    world.write()
    file = world.root / "data/preferences/pairs.parquet"
    params = ListingQualityParams.model_validate(world.params)
    verdict = check_preferences(file, world.root / "data/checked", params)
    repeated = list(BAD_PAIRS).index("twice")
    found = faults(verdict, lambda _, row: row if row < len(world.pairs) - 1 else repeated)
    assert sorted(found) == list(range(len(BAD_PAIRS)))
    for said, (name, (_, words)) in zip((found[i] for i in sorted(found)), BAD_PAIRS.items(), strict=True):
        assert any(words in one for one in said), (name, said)


def few_of_one_kind(w: World) -> None:
    w.pairs = [pair | {"kind": "seller"} for pair in w.pairs[:4]]


@pytest.mark.parametrize(
    ("breaks", "words"),
    [
        (few_of_one_kind, ("are of one kind", "at least 5 pairs")),
        (lambda w: w.pairs.clear(), ("does not exist",)),
    ],
)
def test_bad_pairs_stop_the_pipeline(
    world: World, breaks: Callable[[World], Any], words: tuple[str, ...]
) -> None:
    breaks(world)
    assert world.run("preferences") == 3
    summary = json.loads((world.root / ".vitrine/quality/quality.preferences/summary.json").read_text())
    assert all(any(one in failure for failure in summary["failures"]) for one in words)
    assert not (world.root / "reports").exists()
