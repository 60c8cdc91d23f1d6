"""Judges of form and of titles, and the rule that stands over all of them: nothing is added."""

from __future__ import annotations

import ast
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.catalog.format.measures import in_unit, unit_of
from components.catalog.format.schema import CatalogSchema
from components.evidence.listing import SellerListing
from components.evidence.params import WordParams
from components.evidence.words import Words
from components.opal.refine.decisions import Decision, applied, refine
from components.opal.refine.judges.printed_text import PrintedTextJudge
from components.opal.refine.judges.schema import SchemaJudge, recognised
from components.opal.refine.judges.title import TitleJudge
from components.opal.refine.observed import KnownValues
from components.opal.refine.params import TitleParams
from components.shop.assortment import TYPES

ROOT = Path(__file__).parents[2]
WORDS = WordParams(most_words=500, min_count=3, typo_ratio=8, min_chars=4, synonym_purity=0.8)
SCHEMA = CatalogSchema.model_validate(
    {
        "categories": {
            "tools": {
                "product_types": ["hammer", "saw", "pair of pliers"],
                "attributes": {
                    "grip": {"type": "enum", "values": ["rubber", "bare wood", "no grip"]},
                    "hue": {"type": "enum", "values": ["ochre", "teal"]},
                    "maker": {"type": "string"},
                    "length_cm": {"type": "number"},
                },
            }
        }
    }
)


def listing(title: str = "", kind: str = "hammer", description: str = "", **attributes: str) -> SellerListing:
    return SellerListing("p", "train", title, description, "tools", kind, attributes, "g")


def schema_judge() -> SchemaJudge:
    known = KnownValues(100, 3)
    for maker in ("Quenby", "Rosvik", "Rosvall", "Tarnow & Sons"):
        for _ in range(4):
            known.add(listing(maker=maker), SCHEMA)
    return SchemaJudge(SCHEMA, known)


@pytest.mark.parametrize(
    ("stated", "verb", "new"),
    [
        ({"grip": "rubber"}, "keep", "rubber"),
        ({"grip": "Rubber"}, "normalise", "rubber"),
        ({"grip": "BARE_WOOD"}, "normalise", "bare wood"),
        ({"grip": "a bare wood grip"}, "normalise", "bare wood"),
        ({"grip": "ruber"}, "normalise", "rubber"),
        ({"grip": "b wd"}, "normalise", "bare wood"),
        ({"grip": "rubber or bare wood"}, "drop", ""),
        ({"grip": "velvet"}, "drop", ""),
        ({"grip": "faux rubber"}, "drop", ""),
        ({"grip": "not made of bare wood"}, "drop", ""),
        ({"grip": "rubber-free"}, "drop", ""),
        ({"grip": "isn't rubber"}, "drop", ""),
        ({"grip": "faux bare wood"}, "drop", ""),
        ({"grip": "faux italian rubber"}, "drop", ""),
        ({"grip": "looks like rubber"}, "drop", ""),
        ({"grip": "rubber, free of bare wood"}, "normalise", "rubber"),
        ({"grip": "rubber, free size"}, "normalise", "rubber"),
        ({"grip": "rubber like new"}, "normalise", "rubber"),
        ({"grip": "no rubber, bare wood"}, "normalise", "bare wood"),
        ({"weight": "heavy"}, "drop", ""),
        ({"maker": "Quenby"}, "keep", "Quenby"),
        ({"maker": "QUENBY"}, "normalise", "Quenby"),
        ({"maker": "the famous Quenby"}, "keep", "the famous Quenby"),
        ({"maker": "Quemby"}, "keep", "Quemby"),  # another name, as far as anybody knows
        ({"maker": "Qnb."}, "normalise", "Quenby"),
        ({"maker": "Rsv."}, "drop", ""),  # of Rosvik or of Rosvall
        ({"maker": "Somebody new"}, "keep", "Somebody new"),
        ({"length_cm": "30"}, "keep", "30"),
        ({"length_cm": "0.3 m"}, "normalise", "30"),
        ({"length_cm": "300mm"}, "normalise", "30"),
        ({"length_cm": "30 cm."}, "normalise", "30"),
        ({"length_cm": "3 kg"}, "drop", ""),
        ({"length_cm": "long"}, "drop", ""),
        ({"length_cm": "nan"}, "drop", ""),
    ],
)
def test_values_are_brought_into_the_form_of_the_schema(stated: dict[str, str], verb: str, new: str) -> None:
    ((decision,),) = schema_judge().judge([listing(**stated)])
    assert (decision.decision, decision.new_value) == (verb, new)
    assert decision.reason and decision.judge == "schema"


@pytest.mark.parametrize("stated", ["185 cm", "7 cm", "70 x 140 cm", "15"])
def test_a_size_is_no_slip_of_another_size(stated: str) -> None:
    known = KnownValues(100, 3)
    for size in ("15 cm", "70x140 cm", "85 cm", "140 cm"):
        for _ in range(4):
            known.add(listing(maker=size), SCHEMA)
    ((decision,),) = SchemaJudge(SCHEMA, known).judge([listing(maker=stated)])
    assert (decision.decision, decision.new_value) == ("keep", stated)


@pytest.mark.parametrize("values", [["15 cm", "70x140 cm"], ["140 cm", "size 8"]])
@pytest.mark.parametrize("stated", ["185 cm", "7 cm", "70 x 140 cm", "size 80", "s 8"])
def test_a_size_outside_the_schema_is_not_bent_to_one_inside(stated: str, values: list[str]) -> None:
    assert recognised(stated, values, "") == ("", "")


@pytest.mark.parametrize("text", ["not stainless steel", "faux stainless steel", "stainless steel look"])
def test_no_part_of_a_denied_value_is_said(text: str) -> None:
    assert recognised(text, ["stainless steel", "steel"], "") == ("", "")


def test_a_word_that_people_use_is_no_slip_of_a_value() -> None:
    used = {"dual", "robber"}.__contains__
    assert recognised("dual", ["dial", "strap"], "", used) == ("", "")
    assert recognised("diall", ["dial", "strap"], "", used) == ("dial", "misspelling")


def test_the_listings_own_text_tells_an_abbreviation_apart() -> None:
    ((decision,),) = schema_judge().judge([listing("Hammer by Rosvall", maker="Rsv.")])
    assert decision.new_value == "Rosvall"


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40), st.lists(st.text(min_size=1, max_size=12), max_size=5, unique=True))
def test_what_is_recognised_is_one_of_the_values(value: str, values: list[str]) -> None:
    new, reason = recognised(value, [v for v in values if v.strip()], "")
    assert (new in values and bool(reason)) or (new, reason) == ("", "")


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(["grip", "hue", "maker", "length_cm", "x"]), st.text(max_size=30)))
def test_whatever_sellers_state_the_result_fits_the_schema(stated: dict[str, str]) -> None:
    from components.catalog.format.schema import listing_problems

    (refined,) = refine([listing(**stated)], [schema_judge()])
    left = refined.listing.attributes
    assert set(left) <= set(stated)
    assert not listing_problems(SCHEMA, "tools", "hammer", left, require=False)


@pytest.mark.parametrize(
    ("text", "unit", "number"),
    [
        ("500", "ml", 500), ("0.5 l", "ml", 500), ("0,5 l", "ml", 500), ("1,500", "g", 1500),
        ("2 kg", "g", 2000), ("12 in", "cm", 30.48), ("5 parsecs of doom", "cm", None), ("", "cm", None),
        ("5 kg", "cm", None), ("5 __import__", "cm", None), ("5 cm", "", None), ("-3", "cm", -3),
        ("500 ML", "ml", 500), ("0,750 l", "ml", 750), ("1.500,5", "g", 1500.5), ("5'11\"", "cm", 180.34),
        ("6 ft 2 in", "cm", 187.96), ("3 1/2 in", "cm", 8.89), ("3½ in", "cm", 8.89), ("1/2", "cm", 0.5),
        ("15/16 in", "cm", 2.38125), ("11/16", "cm", 0.6875), ("16/9", "cm", None), ("100/240 V", "v", None),
        ("11/2 in", "cm", None), ("2 1/2 ft", "cm", 76.2), ("5 ms", "m", None), ("3 lbs", "kg", 1.3608),
        ("1/0 cm", "cm", None), ("30 x 40 cm", "cm", None), ("5 Mm", "cm", 0.5), ("5 furlongs", "cm", None),
        ("12 fl. oz", "ml", 354.88), ("9" * 400 + " cm", "mm", None), ("1,5,3", "cm", None),
    ],
)  # fmt: skip
def test_measures_are_converted_by_their_units(text: str, unit: str, number: float | None) -> None:
    found = in_unit(text, unit)
    assert found == (None if number is None else pytest.approx(number, rel=1e-4))


def test_units_stand_at_the_end_of_names() -> None:
    assert [unit_of(n) for n in ("length_cm", "volume_ml", "colour", "neck_line", "_cm")] == [
        "cm", "ml", "", "", ""
    ]  # fmt: skip


def title_judge() -> TitleJudge:
    words = Words(WORDS, SCHEMA)
    for i in range(120):
        hue = ("ochre", "teal")[i % 2]
        said = {"ochre": "amberish", "teal": "petrol"}[hue] if i % 10 < 2 else hue
        one = listing(f"{said.capitalize()} hammer with rubber grip by Quenby", hue=hue, maker="Quenby")
        if i % 3 == 0:
            one = listing(f"Saw {said} for carpenters by Quenby", "saw", hue=hue, maker="Quenby")
        words.add(one.title, "Solid work from Germany.", one.product_type)
        words.add("", "A hot viral gift.", one.product_type)
    words.finish()
    return TitleJudge(words, TitleParams(own_share=0.05, stuffing_run=3))


@pytest.mark.parametrize(
    ("title", "mended"),
    [
        ("Teal hammer by Quenby", "Teal hammer by Quenby"),
        ("TEAL HAMMER by Quenby", "Teal hammer by Quenby"),
        ("Teal hammeer, by Quenby", "Teal hammer, by Quenby"),
        ("Teal hammmer by Qeunby", "Teal hammer by Quenby"),
        ("Teal hmamer by Quenby", "Teal hammer by Quenby"),
        ("Petrol hammer by Quenby", "Petrol hammer by Quenby"),  # says more than teal, and is no fault
        ("TEAL hammer by Quenby", "Teal hammer by Quenby"),  # the record says so
        ("KURA hammer by Quenby", "KURA hammer by Quenby"),  # a name between other words
        ("Teal hammer LED HP", "Teal hammer LED HP"),
        ("Hummer by Quenby", "Hummer by Quenby"),  # a word that people use
        ("Jade Yoga Hammer Deluxe Xtra", "Jade Yoga Hammer Deluxe Xtra"),  # new words are no stuffing
        ("Teal hammer by Quenby saw pair of pliers", "Teal hammer by Quenby"),
        ("Teal hammer by Quenby hot viral gift", "Teal hammer by Quenby"),
        ("Teal hammer by Quenby !!!", "Teal hammer by Quenby !!!"),
        ("Teal hammer by Zorro", "Teal hammer by Zorro"),  # one new word is no stuffing
        ("Teal hammers by Quenby", "Teal hammers by Quenby"),  # a plural is no slip
        ("", ""),
    ],
)
def test_titles_are_corrected(title: str, mended: str) -> None:
    (refined,) = refine([listing(title, hue="teal", maker="Quenby")], [title_judge()])
    assert refined.listing.title == mended


@pytest.mark.parametrize("title", ["Teal hammer by Quenbi", "Teal hammer by Quembya"])
def test_a_name_is_no_slip_of_a_frequent_name_that_the_record_does_not_state(title: str) -> None:
    (refined,) = refine([listing(title, hue="teal")], [title_judge()])
    assert refined.listing.title == title


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80))
def test_no_title_gains_words_and_each_has_its_decision(title: str) -> None:
    (refined,) = refine([listing(title)], [_JUDGE])
    told = [d for d in refined.decisions if d.field == "title"]
    assert [d.value for d in told] == title.split()
    assert len(refined.listing.title.split()) <= len(title.split())


_JUDGE = title_judge()
DECISION = st.builds(
    Decision,
    field=st.sampled_from(["attributes", "title"]),
    name=st.sampled_from(["a", "b", "c", "0", "1"]),
    value=st.just("old"),
    decision=st.sampled_from(["keep", "normalise", "drop"]),
    new_value=st.just("new"),
    judge=st.just("wild"),
    reason=st.just("because"),
)


@given(st.lists(DECISION, max_size=8), st.dictionaries(st.sampled_from(["a", "b"]), st.just("old")))
def test_no_decision_of_any_judge_adds_an_attribute(
    decisions: list[Decision], stated: dict[str, str]
) -> None:
    assert set(applied(listing("x", **stated), decisions).attributes) <= set(stated)


def test_each_of_several_values_is_kept_mended_or_dropped_by_itself() -> None:
    sets = {"type": "enum", "values": ["rubber", "bare wood", "no grip"], "multiple": True}
    category = {"product_types": ["hammer"], "attributes": {"grip": sets}}
    judge = SchemaJudge(CatalogSchema.model_validate({"categories": {"tools": category}}), KnownValues(9, 1))
    said = replace(listing(), attributes={"grip": ("Rubber", "bare wood", "granite", "rubber")})
    (found,) = refine([said], [judge, judge])
    assert found.listing.attributes == {"grip": ("bare wood", "rubber")}
    assert {d.value: (d.decision, d.new_value) for d in found.decisions} == {
        "Rubber": ("normalise", "rubber"),
        "bare wood": ("keep", "bare wood"),
        "granite": ("drop", ""),
        "rubber": ("keep", "rubber"),
    }


def _strings(file: Path) -> set[str]:
    """Every text that stands in a module, docstrings left out, in small letters."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docs = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, documented)}
    texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {text.casefold() for text in texts if isinstance(text, str) and text not in docs}


def test_the_refinement_shares_no_words_with_those_who_write_and_spoil_listings() -> None:
    from components.catalog.noise import seller_text as noise

    writers = [noise.SYNONYMS.keys(), noise.SYNONYMS.values(), noise.HYPE, noise.SERVICE, noise.DISCLAIMERS]
    theirs = {word.casefold() for words in writers for word in words}
    theirs |= {h.replace("{value}", "").strip(" -").casefold() for h in noise.HEDGES}
    for name in ("texts/text", "texts/wording", "assortment"):
        theirs |= _strings(ROOT / f"components/shop/{name}.py")
    for kind in TYPES.values():
        seen = {*kind.parts, *chain(*kind.parts.values()), *map(str, kind.measure or ())}
        theirs |= {kind.name, kind.category, *kind.materials, *kind.uses, *seen}
    theirs = {text for text in theirs if any(c.isalpha() for c in text)}
    rooms = ("components/opal/refine", "components/evidence")
    files = sorted(file for room in rooms for file in (ROOT / room).rglob("*.py"))
    assert {"judge_panel.py", "decisions.py", "instructions.py"} <= {file.name for file in files}
    for file in files:
        ours = _strings(file)
        ours |= {word for text in ours for word in text.split()}
        assert not ours & (theirs - ENGLISH), f"{file.name}: {sorted(ours & (theirs - ENGLISH))}"


# An article, a conjunction, a byte order, a word of SQL, one that takes back no value ("like new"), and an
# encoding.
ENGLISH = {"a", " and ", "big", "table", "new", "utf-8"}


def titled(title: str, *printed: str) -> list[str]:
    """The words of a title after the judge, of a hammer on which some words are printed."""
    words = Words(WORDS, SCHEMA)
    for _ in range(4):
        words.add("Teal hammer by Rosvik", "", "hammer")
        words.add("Ochre saw with free gift today", "", "saw")
    words.finish()
    asked = replace(listing(title), printed=dict.fromkeys(printed, 0.9))
    [found] = TitleJudge(words, TitleParams()).judge([asked])
    return [decision.new_value for decision in found]


def test_a_printed_word_is_a_name_and_mends_only_what_the_catalogue_knows() -> None:
    assert titled("Teal hammer by Rosvok") == ["Teal", "hammer", "by", "Rosvok"]
    assert titled("Teal hammer by Rosvok", "rosvik")[-1] == "Rosvik"
    assert titled("Teal hammer by Rosvok", "rosvok", "rosvik")[-1] == "Rosvok", "it is printed like this"
    assert titled("Teal hammer by Rosvok", "rosvak")[-1] == "Rosvok", "a reader misreads letters, too"
    assert titled("Teal hammer by Rosvik", "rosvak")[-1] == "Rosvik"
    assert titled("Teal hammer free gift today") == ["Teal", "hammer", "", "", ""]
    assert titled("Teal hammer free gift today", "free", "gift", "today")[-1] == "today"


@pytest.mark.parametrize(
    ("stated", "printed", "found"),
    [
        ({"maker": "Tarnow & Sons"}, ("tarnow", "sons"), [("keep", "Tarnow & Sons")]),
        ({"maker": "Quenby"}, ("quenby",), [("keep", "Quenby")]),
        ({"maker": "Quenbi"}, ("quenby",), [("normalise", "Quenby")]),
        ({"maker": "Rosvik"}, ("rosvic",), []),  # misread
        ({"maker": "Quenbi"}, ("quenbe",), []),  # unknown here
        ({"maker": "GT-2160"}, ("gt-2160",), [("keep", "GT-2160")]),
        ({"grip": "bare wood"}, ("bare", "wood"), [("keep", "bare wood")]),
        ({"grip": "rubber"}, ("rubber", "bare", "wood"), []),  # two values are printed
        ({"grip": "rubber"}, ("bare", "wood"), []),  # another one: nothing is dropped for it
        ({"length_cm": "30"}, ("30",), []),  # of what?
        ({"weight": "heavy"}, ("heavy",), []),
    ],
)
def test_a_printed_value_is_supported(
    stated: dict[str, str], printed: tuple[str, ...], found: list[tuple[str, str]]
) -> None:
    known = KnownValues(100, 3)
    for maker in ("Quenby", "Rosvik") * 4:
        known.add(listing(maker=maker), SCHEMA)
    asked = replace(listing(**stated), printed=dict.fromkeys(printed, 0.9))
    [decisions] = PrintedTextJudge(SCHEMA, known).judge([asked])
    assert [(d.decision, d.new_value) for d in decisions] == found
    assert all(d.support == 0.9 for d in decisions)
