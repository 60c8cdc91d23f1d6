"""The validation page: what is noted is said first, the worst check stands first, no empty columns."""

from __future__ import annotations

import re

from components.quality.expectations import Check, Outcome
from components.quality.page import state, validation_page
from components.quality.verdict import Verdict


def outcome(
    says: str, severity: str, success: bool, failing: tuple[int, ...] = (), observed: str = ""
) -> Outcome:
    check = Check("products", "title", says, severity, "expect_column_values_to_be_unique", {}, "")
    return Outcome(check, success, 10, failing, observed)


def page(*outcomes: Outcome, most: float = 0.02) -> str:
    html = validation_page(Verdict("Catalogue", most, rows={"products": 10}, outcomes=list(outcomes)), 3)
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


def test_a_column_of_nothing_is_left_out_and_a_gate_without_allowance_says_so() -> None:
    assert "Seen" not in page(outcome("titles differ", "warning", True))
    assert "Seen" in page(outcome("titles differ", "warning", True, observed="nine kinds"))
    assert "at most 2.00% of the rows may be bad" in page(outcome("x", "warning", True))
    assert "No row may be bad; " in page(outcome("x", "warning", True), most=0.0)
