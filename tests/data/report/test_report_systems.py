"""The page of all systems: claims first, systems without rankings, boxes, gates, generated listings."""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import ShopOfAll, every_system, everything, pairs, table
from pydantic import ValidationError
from test_report_page import HOSTILE, Page, assert_inert

from components.report.errors import ReportInputError, ReportParamsError
from components.report.page.render import clip
from components.report.page.report import build_report, write_pages
from components.report.params import Claim, ReportParams
from components.stage.files.publish import remove
from components.stage.left_out import write_note
from components.stage.paths import Paths
from tests.accessible import assert_structured, grave_findings, needs_chromium


def built(shop: ShopOfAll, **changes: Any) -> Page:
    return Page(
        everything(build_report(Paths.below(shop.root), ReportParams.model_validate(every_system(**changes))))
    )


def test_every_link_has_a_target(shop: ShopOfAll) -> None:
    report = build_report(Paths.below(shop.root), ReportParams.model_validate(every_system()))
    places = {"index.html", *(f"systems/{name}.html" for name in ("encoder", "opal", "catalogue"))}
    assert set(report.pages) == places
    for place, html in report.pages.items():
        page = Page(html)
        assert_inert(page)
        assert_structured(html)
        ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
        assert len(ids) == len(set(ids))
        links = {uri for uri in page.uris() if not uri.startswith("data:")}
        assert {uri[1:] for uri in links if uri.startswith("#")} <= set(ids)
        targets = {posixpath.normpath(posixpath.join(posixpath.dirname(place), uri)) for uri in links}
        assert places - {place} <= targets, "every page leads to every other"
        assert {each for each in targets if each.endswith(".html")} - places <= {"quality/catalog.html"}


@pytest.mark.slow
@needs_chromium
def test_axe_finds_nothing_grave_on_any_page_of_the_report(shop: ShopOfAll, tmp_path: Path) -> None:
    report = build_report(Paths.below(shop.root), ReportParams.model_validate(every_system()))
    write_pages(report, tmp_path / "pages/index.html")
    pages = sorted((tmp_path / "pages").rglob("*.html"))
    assert len(pages) == len(report.pages) and grave_findings(pages) == []


def test_claims_that_do_not_hold_stand_before_those_that_do(shop: ShopOfAll) -> None:
    words = built(shop).words
    told = [words.index(f"Claims that {each}: ") for each in ("do not hold", "hold")]
    failing, holding = words[told[0] : told[1]], words[told[1] : words.index("The claims stand in a file")]
    assert "hold: 1 of 4" in failing and "hold: 3 of 4" in holding
    assert (
        "Encoder: the trained encoder is above a colour histogram, told the types HITS@5 "
        "0.610 [0.580, 0.640] 0.400 [0.370, 0.430] +0.210 [0.180, 0.240] 1,050 ✓ holds" in holding
    )
    assert re.search(r"MRR .* \+0\.010 \[−0\.020, 0\.040\] 1,050 ○ not shown", failing)
    # Tested the other way round, and less is better: both are turned.
    assert "OPAL with preferences is below nearest Hallucination rate" in holding
    assert "−0.100 [−0.150, −0.050] 1,050 ✓ holds" in holding
    assert "900 ✓ holds few cases" in holding
    places = [words.index(each) for each in ("The systems, and", "Training curves", "Honest reading")]
    assert places[0] < told[0] < min(places[1:])
    assert "Of 4 claims 3 hold, 1 not shown. Every quality gate passed." in words


def test_a_systems_page_goes_from_what_it_is_to_its_figures_to_where_it_fails(shop: ShopOfAll) -> None:
    report = build_report(Paths.below(shop.root), ReportParams.model_validate(every_system()))
    words = Page(report.pages["systems/encoder.html"]).words
    order = ["The encoder · A small shop", "A picture tower and", "The figures that matter", "Where it holds"]
    order += ["Searches lost and won", "All figures", "Training curves", "Profile tiny"]
    places = [words.index(each) for each in order]
    assert places == sorted(places)
    figure = "0.610 [0.580, 0.640] The trained encoder, n=1,050 against a colour histogram, told the types"
    assert figure in words and figure in Page(report.pages["index.html"]).words
    assert "▲ better +0.210 [0.180, 0.240]" in words
    titles = [re.search("<title>(.*)</title>", html) for html in report.pages.values()]
    assert all(found and found[1].endswith("A small shop") for found in titles)


def test_claims_whose_sides_cannot_be_better_stand_apart(shop: ShopOfAll) -> None:
    for row in shop.metrics.values():
        if isinstance(row, dict) and "mrr" in row:
            row["mrr"] = {"value": 1.0, "low": 1.0, "high": 1.0, "n": 1050}
    test = next(t for t in shop.metrics["_tests"] if t["metric"] == "mrr" and t["b"] == "colour_histogram")
    test |= {"difference": 0.0, "low": 0.0, "high": 0.0, "p": 1.0}
    shop.write()
    words = built(shop).words
    assert "Claims that cannot be told: 1 of 4 Both sides stand at the best possible value" in words
    assert "1,050 = level, both at the best" in words and "Claims that do not hold" not in words
    assert "Of 4 claims 3 hold, 1 level at the best possible value." in words and "= 1 level" in words


def test_large_figures_have_one_decimal_and_their_interval_too(shop: ShopOfAll) -> None:
    shop.listing_metrics["dpo"]["picture_reliance"] = {"value": 1045.04, "low": 9.86, "high": 2050, "n": 9}
    shop.write()
    assert "1,045.0 [9.9, 2,050.0]" in built(shop).words


@pytest.mark.parametrize(
    ("relation", "low", "high", "standing"),
    [
        ("above", 0.01, 0.2, "shown"),
        ("above", -0.1, 0.2, "open"),
        ("above", 0.0, 0.2, "open"),
        ("above", -0.2, -0.1, "opposite"),
        ("below", -0.2, -0.1, "shown"),
        ("below", 0.1, 0.2, "opposite"),
        ("not_below", -0.01, 0.2, "shown"),
        ("not_below", -0.03, 0.2, "open"),
        ("not_below", -0.03, -0.02, "opposite"),
        ("not_above", -0.2, 0.01, "shown"),
        ("not_above", -0.2, 0.03, "open"),
    ],
)
def test_a_claims_standing_follows_from_the_interval(
    relation: Any, low: float, high: float, standing: str
) -> None:
    claim = Claim(system="s", metric="m", ours="a", relation=relation, baseline="b")
    assert claim.standing(low, high, 0.01) == standing


def test_a_claim_without_a_paired_test_is_marked_not_tested(shop: ShopOfAll) -> None:
    shop.listing_metrics["_tests"] = []
    shop.write()
    words = built(shop).words
    assert "– – – not tested" in words
    assert "No paired test was recorded for OPAL, listings." in words


def test_a_claim_about_a_row_that_no_system_has_is_refused(shop: ShopOfAll) -> None:
    claim = {"system": "listing", "metric": "mrr", "ours": "dpo", "relation": "above", "baseline": "nearest"}
    with pytest.raises(ReportParamsError, match=r"no variant 'sft' in listing \(known: nearest, dpo\)"):
        built(shop, claims=[claim | {"baseline": "sft", "metric": "hallucination_rate"}])


@pytest.mark.parametrize(
    "change",
    [
        {"claims": [{"system": "x", "metric": "m", "ours": "a", "relation": "above", "baseline": "b"}]},
        {"claims": [{"system": "listing", "metric": "m", "ours": "a", "relation": "over", "baseline": "b"}]},
        {"retrieval": every_system()["retrieval"] | {"systems": {"x": {"metric": "m", "success_from": 1}}}},
        {"systems": {"../../etc": "a", "encoder": "fine_tuned", "listing": "dpo"}},
    ],
)
def test_systems_that_are_not_reported_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ReportParams.model_validate(every_system(**change))


def test_a_system_without_rankings_has_table_reading_and_tests(shop: ShopOfAll) -> None:
    words = built(shop).words
    assert "best 0.600 [0.570, 0.630]" in words
    assert (
        "OPAL with preferences is better than nearest on Attribute macro-F1 and Hallucination rate." in words
    )
    assert "2 paired tests: 1 better, 0 not shown, 1 worse" in words


def test_what_is_left_out_in_doubt_is_drawn_where_a_run_has_measured_it(shop: ShopOfAll) -> None:
    assert "What is left out in doubt" not in built(shop).words
    (shop.root / "plots/listing_risk.csv").write_text("step,nearest,dpo\n10,0.3,0.1\n50,0.5,0.25\n90,,0.4\n")
    words = built(shop).words
    assert "What is left out in doubt" in words and "fields filled, %" in words
    assert "OPAL with preferences ends at 0.4" in words


def test_each_attribute_is_drawn_with_its_calibration_error_the_least_honest_first(shop: ShopOfAll) -> None:
    assert "Each attribute by itself" not in built(shop).words
    shop.listing_metrics["dpo"] |= {
        f"calibration_error_{name}": {"value": value, "low": None, "high": None, "n": 100}
        for name, value in (("hem_line", 0.05), ("colour", 0.2))
    }
    shop.write()
    lines = [
        "dpo,hem_line,0.5,0.45,100",
        "dpo,colour,0.3,0.4,50",
        "dpo,colour,0.9,0.6,50",
        "nearest,back,1,0,9",
    ]
    file = shop.root / "plots/listing_attributes.csv"
    file.write_text("\n".join(["variant,attribute,confidence,right,n", *lines]) + "\n")
    page = built(shop)
    assert page.words.index("Colour 0.200 n=100") < page.words.index("Hem line 0.050 n=100")
    assert "Back 0" not in page.words
    named = [attrs["aria-label"] for _, attrs in page.elements if "right" in attrs.get("aria-label", "")]
    assert named[0] == "colour: 30% sure, 40% right; 90% sure, 60% right"
    file.write_text(file.read_text().replace("0.45", "1.45"))
    with pytest.raises(ReportInputError, match=r"listing_attributes\.csv, line 2: confidence and right must"):
        built(shop)


def test_a_system_without_any_figure_gets_a_note(shop: ShopOfAll) -> None:
    shop.listing_metrics = {"dpo": {}, "nearest": {}}
    shop.write()
    words = built(shop, claims=[]).words
    assert "Nothing could be measured: this catalogue lacks what OPAL, listings is compared with." in words


def test_boxes_come_with_fallbacks_first_and_their_reason(shop: ShopOfAll) -> None:
    words = built(shop).words
    assert "1 of 3 boxes overlap the true one by an IoU below 0.5; for 1 no box was found" in words
    order = [words.index(each) for each in ("○ fallback", "IoU 0.10", "IoU 1.00")]
    assert order == sorted(order)
    assert "no patch stands out" in words


def test_without_true_boxes_the_boxes_found_are_shown_unjudged(shop: ShopOfAll) -> None:
    shop.boxes, shop.pointings = [row | {"box": []} for row in shop.boxes], shop.pointings[:0]
    shop.write()
    (shop.root / "results/per_query/encoder/pointing.parquet").unlink()
    page = built(shop)
    assert "nothing here is judged; of 2 pictures 1 were kept whole" in page.words
    assert "○ box" in page.words
    assert "✓ hit" not in page.words and "true box &" not in page.words
    assert not [attrs for _, attrs in page.elements if attrs.get("class") == "true-box"]
    shop.reasons[0]["box"] = [0.1, 0.2, 4.0, 0.9]
    shop.write()
    (shop.root / "results/per_query/encoder/pointing.parquet").unlink()
    with pytest.raises(ReportInputError, match=r"boxes\.parquet, product 'p004', found_box: 4"):
        built(shop)


def test_gate_weights_are_averaged_by_category_and_kind(shop: ShopOfAll) -> None:
    page = built(shop)
    assert "textual n=12 70% 20% 10%" in page.words and "visual n=12 20% 70% 10%" in page.words
    assert "kitchen n=8 45% 45% 10%" in page.words
    bars = [attrs for tag, attrs in page.elements if tag == "rect" and attrs.get("height") == "60"]
    assert len(bars) == 3 * (3 + 2)
    assert [float(bar["width"]) for bar in bars[-3:]] == pytest.approx([200, 700, 100])


def test_listings_are_shown_as_a_seller_sees_them_beside_what_is_true(shop: ShopOfAll) -> None:
    words = built(shop).words
    assert (
        "3 listings, drawn at random" in words and "These are all there are. Stated are the surest" in words
    )
    assert (
        "All 3 listings state 3 values and leave out 1; 1 state nothing. Of the 3 that can be compared 33%"
        in words
    )
    assert "✓ 3 of 3 right kitchen Red mug, stated the seller: SELLER'S WORDS" in words
    assert "type ✓ mug colour ✓ crimson 88% handles ✓ 2" in words
    assert "✗ 1 of 2 wrong" in words and "colour ✗ teal is crimson 88%" in words
    assert "Left out: handles (2, 25%, right)" in words
    assert "✗ no listing" in words and 'no listing: {"title":"Red m' in words
    html = everything(build_report(Paths.below(shop.root), ReportParams.model_validate(every_system())))
    assert "<del>✗ <bdi>teal</bdi></del>" in html


def test_listings_are_drawn_by_the_seed_alone(shop: ShopOfAll) -> None:
    def drawn(seed: int) -> list[int]:
        words = built(shop, seed=seed, listings={"variant": "dpo", "count": 1}).words
        assert "1 listings, drawn" not in words
        assert "Drawn by a seed from 3 listings, good and bad alike; none is chosen." in words
        return [words.count(each) for each in ("✓ 3 of 3 right", "✗ 1 of 2 wrong", "✗ no listing")]

    found = [drawn(seed) for seed in range(12)]
    assert all(sum(one) == 1 for one in found), "one of the three"
    assert [sum(one) for one in zip(*found, strict=True)].count(0) == 0, "whichever the seed draws"


def test_where_the_seller_is_the_truth_nothing_is_called_right_or_wrong(shop: ShopOfAll) -> None:
    for row in shop.listings:
        row |= {f"truth_{part}": row[f"seller_{part}"] for part in ("title", "attributes")}
    for row, product in zip(shop.truth, shop.products, strict=True):
        row |= {"title": product["title"], "attributes": product["attributes"], "box": None}
        row |= {"scene": "unknown", "noise": []}
    shop.write()
    page = built(shop)
    words = page.words[page.words.index("3 listings, drawn") :]
    words = words[: words.index("All figures")]
    assert "The seller is the truth here." in words and "100% differ from the seller's record" in words
    assert "1 of 2 as the seller" in words and "colour teal the seller: puce 88%" in words
    assert "✓" not in words and "✗" not in words.replace("✗ no listing", "")
    assert "this catalogue has no truth" in page.words


def test_listings_without_truth_are_shown_unjudged(shop: ShopOfAll) -> None:
    for row in shop.listings:
        row |= {"truth_title": "", "truth_attributes": []}
        row["constrained_text"] = re.sub('"type":"[a-z]+",', "", row["constrained_text"])
    shop.write()
    words = built(shop).words
    assert "not judged" in words and "colour crimson 88%" in words and "can be compared" not in words


def test_results_of_an_earlier_version_leave_nothing_out(shop: ShopOfAll) -> None:
    for row in shop.listings:
        for column in ("stated_title", "left_out", "point"):
            del row[column]
    shop.write()
    words = built(shop).words
    assert "✓ 3 of 3 right kitchen Red mug the seller" in words and "Left out" not in words


def found_boxes(page: Page) -> list[dict[str, float]]:
    shown = [dict(found) for tag, found in page.elements if tag == "rect"]
    return [
        {edge: float(box[edge] or 0) for edge in ("x", "y", "width", "height")}
        for box in shown
        if box.get("class") == "found-box"
    ]


def test_the_box_that_a_listing_was_read_from_is_shown(shop: ShopOfAll) -> None:
    before = built(shop)
    for row in shop.listings:
        row["box"] = None
    shop.listings[0]["box"] = [0.25, 0.5, 0.75, 1.0]
    shop.write()
    page = built(shop)
    assert "reads the box alone" in page.words and "reads the box alone" not in before.words
    (new,) = [box for box in found_boxes(page) if box not in found_boxes(before)]
    assert new["width"] == pytest.approx(2 * new["x"], abs=0.2)
    assert new["height"] == pytest.approx(new["y"], abs=0.2)
    shop.listings[0]["box"] = [0.5, 0.5, 0.25, 1.0]
    shop.write()
    with pytest.raises(ReportInputError, match="x0 <= x1"):
        built(shop)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_texts_of_models_and_gates_are_escaped_in_the_page(shop: ShopOfAll, hostile: str) -> None:
    for row in shop.listings:
        row |= {"category": hostile, "seller_title": hostile, "stated_title": hostile}
        row["truth_attributes"] = pairs({hostile: hostile})
    for row in shop.gates:
        row |= {"category": hostile, "kind": hostile}
    shop.reasons[1]["reason"] = hostile
    shop.write()
    page = built(shop)
    assert_inert(page)
    assert page.words.count(" ".join(clip(hostile, 120).split())) > 10


BROKEN_FILES = [
    "results/per_query/fusion/gates.parquet",
    "results/per_query/listing/dpo.parquet",
    "results/per_query/vlclip/pointing.parquet",
    "data/grounding/boxes.parquet",
    "metrics/listing.json",
]


@pytest.mark.parametrize("name", BROKEN_FILES)
def test_a_damaged_file_is_named(shop: ShopOfAll, name: str) -> None:
    path = shop.root / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ReportInputError, match=path.name):
        built(shop)


@pytest.mark.parametrize(
    ("part", "change", "says"),
    [
        ("gates", {"text": 0.9}, r"gates\.parquet, product 'p000': the gate weights .* are not shares of 1"),
        ("gates", {"image": float("nan")}, "are not shares of 1"),
        ("gates", {"variant": "other"}, "no gate weights of variant 'moe'"),
        ("listings", {"product_id": "gone"}, "product 'gone', which data/checked lacks"),
        ("listings", {"truth_attributes": "[1, 2]"}, "truth_attributes: '.1, 2.' holds no attributes"),
        ("boxes", {"found_box": [0.5, 0.5, 0.2, 0.9]}, "found_box: .* must be x0 y0 x1 y1"),
        ("boxes", {"found_box": [0.1, 0.1, 7.0, 0.9]}, "found_box: 7"),
        ("boxes", {"iou": float("nan")}, "iou: nan"),
    ],
)
def test_broken_values_are_named(shop: ShopOfAll, part: str, change: dict[str, Any], says: str) -> None:
    rows = getattr(shop, part)
    for row in rows if "variant" in change or "truth_attributes" in change else rows[:1]:
        row |= change
    shop.write()
    with pytest.raises(ReportInputError, match=says):
        built(shop)


def test_a_missing_column_is_named(shop: ShopOfAll) -> None:
    rows = [{k: v for k, v in row.items() if k != "constrained_text"} for row in shop.listings]
    table(shop.root / "results/per_query/listing/dpo.parquet", rows)
    with pytest.raises(ReportInputError, match=r"dpo\.parquet has no column constrained_text"):
        built(shop)


def left_out(path: Path, reason: str) -> None:
    remove(path)
    write_note(path, reason)


def test_systems_that_the_catalogue_cannot_feed_are_left_out_with_the_reason(shop: ShopOfAll) -> None:
    reason = " ".join(["No category of this catalogue has an attribute."] * 6)
    folders = ("results/per_query/listing", "results/per_query/fusion")
    for made in ("metrics/listing.json", "plots/listing_risk.csv", *folders):
        left_out(shop.root / made, reason)
    page = built(shop)
    assert f"Left out OPAL, listings: {reason}" in page.words, "whole, however long"
    assert not {"results-listing", "gates", "listings"} & {attrs.get("id") for _, attrs in page.elements}
    assert not [uri for uri in page.uris() if uri.endswith("opal.html")]


def test_claims_that_the_data_cannot_give_are_left_out_and_said(shop: ShopOfAll) -> None:
    file = shop.root / "metrics/encoder.json"
    figures = json.loads(file.read_text())
    tests = [test for test in figures.pop("_tests") if test["metric"] != "mrr"]
    rows = {name: {m: c for m, c in row.items() if m != "mrr"} for name, row in figures.items()}
    file.write_text(json.dumps({**rows, "_tests": tests}))
    words = built(shop).words
    assert "Encoder: the data of this catalogue give no MRR of the trained encoder and" in words
    assert "Of 3 claims 3 hold." in words


def test_a_partial_page_shows_nothing_of_outputs_that_its_run_did_not_make(shop: ShopOfAll) -> None:
    params = ReportParams.model_validate(every_system())
    absent = {
        "metrics/listing.json": "stage sft failed: boom",
        "results/per_query/listing": "stage sft failed",
        "plots/listing_risk.csv": "stage sft failed",
    }
    (shop.root / "plots/listing_risk.csv").write_text("step,dpo\n10,0.3\n50,0.5\n")
    known = {str(shop.root / path): why for path, why in absent.items()}
    page = Page(everything(build_report(Paths.below(shop.root), params, known)))
    assert "A partial report: not every stage of the graph has run to its end." in page.words
    assert "OPAL, listings: stage sft failed: boom" in page.words
    assert "results-listing" not in {attrs.get("id") for _, attrs in page.elements}
    assert "listings, drawn at random" not in page.words and "left out in doubt" not in page.words


def test_turns_of_direction_and_controls_stand_as_escapes() -> None:
    assert clip("mug \u202egum\x1b[2J\nblue", 100) == r"mug \u202egum\u001b[2J blue"
