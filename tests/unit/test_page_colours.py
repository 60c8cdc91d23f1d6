"""Text of every page stands out from its ground, in light and in dark, by the colours of its style sheet."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.accessible import contrast, faint_texts, palettes

SHEETS = (
    "components/report/page/templates/page.css",
    "components/tracking/compare/page.css",
    "components/quality/page.css",
    "components/opal/describe/page.css",
)


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#fff", "#000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # the standard's known near miss


@pytest.mark.parametrize("sheet", SHEETS)
def test_text_stands_out_in_light_and_in_dark(sheet: str) -> None:
    found = palettes(Path(sheet).read_text(encoding="utf-8"))
    assert found["light"]["ink"] != found["dark"]["ink"] and "soft" in found["light"]
    assert {scheme: faint_texts(palette) for scheme, palette in found.items()} == {"light": [], "dark": []}
