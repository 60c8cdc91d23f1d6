"""The validation page: what is noted is said first, the worst check stands first, no empty columns."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from components.quality.expectations import Check, Outcome
from components.quality.reports import state, validation_page
from components.quality.verdict import BadRow, Verdict
from tests.accessible import assert_structured, grave_findings, needs_chromium


def outcome(
    says: str, severity: str, success: bool, failing: tuple[int, ...] = (), observed: str = ""
) -> Outcome:
    check = Check("products", "title", says, severity, "expect_column_values_to_be_unique", {}, "")
    return Outcome(check, success, 10, failing, observed)


def whole(*outcomes: Outcome, most: float = 0.02, bad: list[BadRow] | None = None) -> str:
    verdict = Verdict("Catalogue", most, rows={"products": 10}, bad=bad or [], outcomes=list(outcomes))
    return validation_page(verdict, 3)


def page(*outcomes: Outcome, most: float = 0.02) -> str:
    html = whole(*outcomes, most=most)
    return re.sub(r"<[^>]+>", " ", html[html.index("<body>") :])


def test_what_is_only_noted_is_said_in_the_verdict_and_stands_first_among_the_checks() -> None:
    holds, noted = (
        outcome("titles differ", "warning", True),
        outcome("titles are short", "info", False, (1, 2)),
    )
    assert (state(holds), state(noted)) == ("holds", "noted")
    text = page(holds, noted)
    assert "No row was set aside." in text
    assert "‘titles are short’ does not hold for 2 of 10 products" in text
    assert text.rindex("titles are short") < text.rindex("titles differ")
    assert "‘titles differ’ holds: 1 of 10 products against it are within its limit" in page(
        outcome("titles differ", "critical", True, (1,))
    )


def test_a_column_of_nothing_is_left_out_and_a_gate_without_allowance_says_so() -> None:
    assert "For example" not in page(outcome("titles differ", "warning", True))
    assert "For example" in page(outcome("titles differ", "warning", True, observed="nine kinds"))
    assert "at most 2.00% of the rows may be bad" in page(outcome("x", "warning", True))
    assert "No row may be bad; " in page(outcome("x", "warning", True), most=0.0)


def test_what_was_set_aside_stands_before_the_checks_and_checks_that_hold_are_folded() -> None:
    html = whole(outcome("titles differ", "warning", False, (3,)), outcome("short", "info", True), bad=ASIDE)
    aside, fails = html.index("Rows set aside, by reason"), html.index(">rows set aside</td>")
    assert aside < fails < html.index("<summary>1 that hold</summary>") < html.index(">short</td>")


ASIDE = [BadRow("products", "p1", "", 3, "title", "twice", "titles differ", counted=False)]


def test_the_title_says_what_was_judged_and_how_and_the_page_can_be_read_by_all() -> None:
    passed = whole(outcome("titles differ", "warning", True, (3,), "one of them twice"), bad=ASIDE)
    failed = whole(outcome("there are products", "critical", False))
    assert "<title>Catalogue: passed · data quality</title>" in passed
    assert "<title>Catalogue: did not pass · data quality</title>" in failed
    assert "Checks of products: 0 of 1 hold" in failed
    for html in (passed, failed):
        assert_structured(html)


@pytest.mark.slow
@needs_chromium
def test_axe_finds_nothing_grave_on_a_validation_page(tmp_path: Path) -> None:
    seen = "nine kinds of products, of which some are named in words that are long beyond measure"
    html = whole(outcome("titles differ", "warning", True, (3,), seen), bad=ASIDE)
    (tmp_path / "catalog.html").write_text(html, encoding="utf-8")
    assert grave_findings([tmp_path / "catalog.html"]) == []
