"""The page: self-contained, the same bytes for the same run, and telling what the files hold."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Workspace, everything, pairs, parameters
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from components.report.page.render import clip
from components.report.page.report import build_report
from components.report.params import ReportParams
from components.stage.paths import Paths
from tests.in_process import run_stage

MakeParams = Callable[..., ReportParams]
VOID = {"meta", "link", "img", "line", "circle", "rect", "path", "polyline", "image", "br", "wbr"}
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style></title><svg onload=alert(1)>",
    "{{ params.title }}{% include 'x' %}",
    "' onmouseover='alert(1)",
    "\u202eright to left\x00\x1b[31m",
    "&lt;b&gt; & <!-- ",
]


class Page(HTMLParser):
    """Elements with their attributes, the text in each open element, and whether all were closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.items: list[tuple[str, str]] = []  # (class of the <li>, its text)
        self._open: list[str] = []
        self._item: list[tuple[str, int]] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "li":
            self._item.append((dict(attrs).get("class") or "", len(self.text)))
        if tag not in VOID:
            self._open.append(tag)
        if tag != "bdi":
            self.text += " "

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag == "li":
            kind, start = self._item.pop()
            self.items.append((kind, " ".join(self.text[start:].split())))

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.text += data

    @property
    def words(self) -> str:
        return " ".join(self.text.split())

    def uris(self) -> list[str]:
        return [a[name] for _, a in self.elements for name in ("src", "href", "srcset", "data") if name in a]


def built(workspace: Workspace, params: ReportParams) -> Page:
    return Page(everything(build_report(Paths.below(workspace.root), params)))


def assert_inert(page: Page) -> None:
    """Nothing on the page runs, and nothing is fetched."""
    tags = {tag for tag, _ in page.elements}
    assert not tags & {
        "script",
        "iframe",
        "object",
        "embed",
        "form",
        "base",
        "audio",
        "video",
        "foreignobject",
    }
    assert not [
        name for _, attrs in page.elements for name in attrs if name.startswith("on") or name == "style"
    ]
    assert all(
        re.match(r"data:image/jpeg;base64,|data:,$|#[a-z_-]+$|(\.\./)*([a-z]+/)?[a-z_]+\.html$", uri)
        for uri in page.uris()
    )


def test_the_page_loads_nothing_from_outside(workspace: Workspace, params: MakeParams) -> None:
    html = everything(build_report(Paths.below(workspace.root), params()))
    page = Page(html)
    assert_inert(page)
    assert "http:" not in html and "https:" not in html and "@import" not in html and "url(" not in html
    policy = [attrs["content"] for tag, attrs in page.elements if tag == "meta" and "http-equiv" in attrs]
    assert (
        set(policy) == {"default-src 'none'; img-src data:; style-src 'unsafe-inline'"} and len(policy) == 3
    )
    assert all("alt" in attrs for tag, attrs in page.elements if tag == "img")


def test_pictures_are_small_jpegs_of_the_right_shape(workspace: Workspace, params: MakeParams) -> None:
    page = built(workspace, params(thumbnail_px=20))
    images = [attrs for tag, attrs in page.elements if tag == "img"]
    assert len(images) > 10
    for attrs in images:
        picture = Image.open(io.BytesIO(base64.b64decode(attrs["src"].split(",", 1)[1])))
        assert (picture.format, picture.size) == ("JPEG", (20, 20))
        assert (attrs["width"], attrs["height"]) == ("20", "20")


def test_further_pictures_stand_below_the_main_one(workspace: Workspace, params: MakeParams) -> None:
    plain = [attrs for tag, attrs in built(workspace, params()).elements if tag == "img"]
    for row in workspace.products:
        row["more_images"] = [row["image"], row["image"]]
    workspace.write_catalogue()
    shown = [attrs["alt"] for tag, attrs in built(workspace, params()).elements if tag == "img"]
    further = [alt for alt in shown if "further picture" in alt]
    assert further[:2] == [f"{further[0].split(',')[0]}, further picture {n}" for n in (1, 2)]
    assert len(shown) == len(plain) + len(further)


def test_the_same_run_gives_the_same_bytes(workspace: Workspace, params: MakeParams, tmp_path: Path) -> None:
    first = build_report(Paths.below(workspace.root), params())
    other = Workspace(tmp_path / "elsewhere" / "deep")
    other.per_query.reverse()
    other.pointings.reverse()
    other.qrels.reverse()
    other.write()
    assert build_report(Paths.below(other.root), params()) == first
    assert str(tmp_path) not in everything(first)
    assert everything(build_report(Paths.below(workspace.root), params(seed=4))) != everything(first)


def run_elsewhere(root: Path) -> subprocess.CompletedProcess[str]:
    """The stage in a process of another time zone and other hashes."""
    place = {"PYTHONPATH": str(Path(__file__).parents[3]), "PYTHONHASHSEED": "2", "TZ": "UTC+2"}
    command = [sys.executable, "-m", "components.stage", "report"]
    return subprocess.run(
        command, cwd=root, env=os.environ | place, capture_output=True, text=True, check=False
    )


def test_the_stage_publishes_the_page_the_headline_and_a_record(workspace: Workspace) -> None:
    (workspace.root / "params.yaml").write_text(yaml.safe_dump({"report": parameters()}))
    outputs = []
    for run in (lambda root: run_stage(root, "report"), run_elsewhere):
        done = run(workspace.root)
        assert (done.returncode, done.stderr) == (0, "")
        outputs.append((workspace.root / "reports/index.html").read_bytes())
    assert outputs[0] == outputs[1]
    assert json.loads((workspace.root / "metrics/headline.json").read_text()) == {"encoder.hits_at_5": 0.61}
    records = [json.loads(path.read_text()) for path in workspace.root.glob(".vitrine/records/*/*.json")]
    assert len(records) == 2
    pages = [workspace.root / "reports/index.html", *(workspace.root / "reports/systems").iterdir()]
    assert {page.name for page in pages} == {"index.html", "encoder.html", "catalogue.html"}
    assert records[0]["metrics"]["page_bytes"] == sum(page.stat().st_size for page in pages)
    assert records[0]["parameters"]["report"]["profile"] == "tiny"


def test_a_failing_stage_leaves_the_old_page(workspace: Workspace) -> None:
    (workspace.root / "params.yaml").write_text(yaml.safe_dump({"report": parameters() | {"colour": 1}}))
    (workspace.root / "reports/index.html").write_text("old")
    done = run_stage(workspace.root, "report")
    assert done.returncode == 2
    assert "report.colour: unknown key" in done.stderr
    assert "Traceback" not in done.stderr
    assert (workspace.root / "reports/index.html").read_text() == "old"


def test_the_page_counts_products_queries_and_judgements(workspace: Workspace, params: MakeParams) -> None:
    words = built(workspace, params()).words
    assert "products 24 categories 3 product types 3 queries 2 judgements 3" in words
    assert "Category train validation test all" in words
    assert "kitchen 3 3 2 8" in words
    assert "Catalog the catalogue, before anything learns from it ✓ passed" in words
    assert "products: 30 checked, 6 in quarantine" in words
    assert "4 not ‘unknown colour’ 2 not ‘no picture’" in words


def test_a_side_of_other_cases_than_the_test_says_how_many(workspace: Workspace, params: MakeParams) -> None:
    alike = built(workspace, params()).words
    assert "that both have" not in alike and "What the measures mean HITS@k" in alike
    workspace.metrics["colour_histogram"]["hits_at_5"]["n"] = 1090
    workspace.json("metrics/encoder.json", workspace.metrics)
    words = built(workspace, params()).words
    assert (
        "0.400 [0.370, 0.430] n=1,090 ▲ better +0.210 [0.180, 0.240] over the 1,050 that both have" in words
    )
    assert "0.610 [0.580, 0.640] 0.400 [0.370, 0.430] n=1,090 +0.210" in words


def test_the_table_gives_intervals_and_marks_only_what_a_test_supports(
    workspace: Workspace, params: MakeParams
) -> None:
    words = built(workspace, params()).words
    assert "System HITS@5 n=1,050 MRR n=1,050 The trained encoder best 0.610 [0.580, 0.640]" in words
    assert words.count("best 0.") == 1  # MRR is higher too, but its test does not say so
    pair = "the trained encoder − a colour histogram, told the types"
    assert f"{pair}, HITS@5: +0.210 [0.180, 0.240], p<0.001, n=1,050" in words
    assert "not shown to be better or worse on MRR" in words


def test_untrained_is_labelled_where_nothing_was_pretrained(workspace: Workspace, params: MakeParams) -> None:
    assert "The untrained network learned nothing yet" in built(workspace, params()).words
    assert "learned nothing yet" not in built(workspace, params(pretrained=True)).words


def test_hits_are_marked_by_word_and_frame_and_a_failed_search_shows_an_expected_product(
    workspace: Workspace, params: MakeParams
) -> None:
    page = built(workspace, params())
    found = [item for item in page.items if re.match(r"\d [✓✗]|expected", item[1])]
    assert ("hit", "2 ✓ exact red mug number 0") in found
    assert ("", "1 ✗ green lamp number 1") in found
    assert ("sought", "expected blue lamp number 22") in found
    assert ("hit", "1 ✓ this product red lamp number 4") in found
    assert all((kind == "hit") == ("✓" in text) for kind, text in found)


def test_failures_come_first_within_a_kind(workspace: Workspace, params: MakeParams) -> None:
    for row in workspace.per_query:
        row["task"], row["kind"] = "search", "all"
    workspace.write()
    words = built(workspace, params()).words
    assert "all search 3 searches: 1 found by neither, 2 found by both." in words
    assert words.index("something round") < words.index("a red mug")


def test_marks_that_contradict_the_metric_are_counted_in_a_note(
    workspace: Workspace, params: MakeParams
) -> None:
    assert "disagree: report.retrieval" not in built(workspace, params()).words
    for row in workspace.per_query:
        if row["query_id"] == "q0":
            row["hits_at_5"] = 0.0
    workspace.write()
    assert "For 1 of the searches shown" in built(workspace, params()).words


def test_pointings_show_the_true_box_and_the_point(workspace: Workspace, params: MakeParams) -> None:
    page = built(workspace, params())
    assert "1 of 2 points miss the true box" in page.words
    assert page.words.index("✗ miss") < page.words.index("✓ hit")
    true_boxes = [
        attrs for tag, attrs in page.elements if attrs.get("class") == "true-box" and attrs["x"] != "3"
    ]
    assert len(true_boxes) == 2
    px = 32  # thumbnail_px; the true box is 0.25 0.2 0.75 0.8
    assert [float(true_boxes[0][name]) for name in ("x", "y", "width", "height")] == pytest.approx(
        [0.25 * px, 0.2 * px, 0.5 * px, 0.6 * px], abs=0.06
    )


def test_missing_results_are_left_out_with_a_note(workspace: Workspace, params: MakeParams) -> None:
    (workspace.root / "results/per_query/encoder/pointing.parquet").unlink()
    (workspace.root / "data/truth/truth.parquet").unlink()
    page = built(workspace, params(curves=[]))
    assert "Left out: this run has no pointing results" in page.words
    assert "Differences are left out: this catalogue has no truth." in page.words
    assert "Training curves" not in page.words
    assert "#curves" not in page.uris()


def test_sellers_values_and_true_values_are_marked_differently(
    workspace: Workspace, params: MakeParams
) -> None:
    words = built(workspace, params()).words
    assert re.search(r"colour: (red|green|blue|yellow) crimson", words)
    assert "material: not stated clay" in words
    assert "True " in words
    assert "attribute wrong: other (colour)" in words


@pytest.mark.parametrize("hostile", HOSTILE)
def test_sellers_text_is_escaped_in_the_page(workspace: Workspace, params: MakeParams, hostile: str) -> None:
    for row in workspace.products:
        row |= {"title": hostile, "category": hostile, "product_type": hostile, "description": hostile}
        row["attributes"] = pairs({hostile: hostile})
    for row in workspace.truth:
        row["title"] = hostile + "!"
        row["noise"] = [{"field": hostile, "kind": hostile, "detail": hostile}]
    for row in workspace.queries:
        row |= {"text": hostile, "kind": hostile}
    workspace.metrics[hostile] = workspace.metrics["untrained"]
    workspace.write()
    kinds = {hostile: {"rows": 1, "quarantined": 1, "reasons": {hostile: 1}}}
    workspace.json("reports/quality/catalog.json", {"passed": False, "kinds": kinds})
    curve = workspace.root / "plots/encoder.csv"
    curve.write_text(f'step,"{hostile.replace(chr(34), chr(34) * 2).replace(chr(0), "")}"\n1,2\n2,3\n')
    page = built(workspace, params(title=hostile))
    assert_inert(page)
    assert page.words.count(" ".join(clip(hostile, 120).split())) > 20


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(title=st.text(max_size=300))
def test_any_title_is_shown_as_it_is_or_cut(workspace: Workspace, params: MakeParams, title: str) -> None:
    workspace.products[0]["title"] = title.encode("utf-8", "replace").decode()
    workspace.write_catalogue()
    page = built(workspace, params(grounding=parameters()["grounding"] | {"failures": 0, "successes": 0}))
    assert_inert(page)
    assert clip(workspace.products[0]["title"], 120).strip().split() == [] or (
        " ".join(clip(workspace.products[0]["title"], 120).split()) in page.words
    )


@given(st.text(max_size=200), st.integers(20, 100))
def test_clipped_text_is_short_and_free_of_control_characters(text: str, most: int) -> None:
    cut = clip(text, most)
    assert len(cut) <= most
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in cut)
    whole = clip(text, 10_000)
    assert cut == whole if len(whole) <= most else cut.endswith("…")


def test_other_systems_are_reported_side_by_side(workspace: Workspace, params: MakeParams) -> None:
    workspace.json("metrics/fusion.json", workspace.metrics)
    source = workspace.root / "results/per_query/encoder/encoder.parquet"
    (workspace.root / "results/per_query/fusion").mkdir()
    (workspace.root / "results/per_query/fusion/fusion.parquet").write_bytes(source.read_bytes())
    numbers: dict[str, Any] = {"fusion.mrr": "fusion.fine_tuned.mrr"}
    report = build_report(
        Paths.below(workspace.root),
        params(
            systems={"encoder": "fine_tuned", "fusion": "colour_histogram"},
            headline=numbers,
            retrieval=parameters()["retrieval"]
            | {"systems": {"fusion": {"metric": "mrr", "success_from": 0.2}}},
        ),
    )
    assert report.headline == {"fusion.mrr": 0.42}
    assert "found by colour histogram. A search fails" in Page(everything(report)).words
