"""What all pages keep so that everybody can read them: structure, contrast, axe-core's rules in Chromium."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Iterable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = (
    "no Chromium on the PATH (Debian: apt-get install chromium)"
    if CHROMIUM is None
    else next(
        (
            f"{name} is not installed (pip install '.[dev]')"
            for name in ("playwright", "axe_playwright_python")
            if importlib.util.find_spec(name) is None
        ),
        "",
    )
)
needs_chromium = pytest.mark.skipif(bool(MISSING), reason=MISSING)
# A browser that asks nothing of the network; root may not use its sandbox.
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SIZES = ((360, 800), (1280, 900))  # of a telephone and of a desk, CSS pixels
GRAVE = ("serious", "critical")
TEXT = ("ink", "soft", "accent", "good", "bad", "open", "note", "low")  # variables that text is written in
GROUNDS = ("ground", "card", "raised")  # and what it stands on
TINTED = ("good", "bad", "open")  # badges: their colour on a ground of their own
ENOUGH = 4.5  # WCAG 2.2, 1.4.3: text of normal size


class Structure(HTMLParser):
    """The language, title, headings and landmarks of a page, and its cells without a heading's scope."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.language, self.title, self.mains = "", "", 0
        self.levels: list[int] = []
        self.unscoped = self.undescribed = 0
        self._in_title = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._in_title = tag == "title" or (self._in_title and tag != "style")
        self.mains += tag == "main"
        self.unscoped += tag == "th" and "scope" not in given
        self.undescribed += tag == "img" and "alt" not in given
        if tag == "html":
            self.language = given.get("lang") or ""
        if re.fullmatch("h[1-6]", tag):
            self.levels.append(int(tag[1]))

    def handle_endtag(self, tag: str) -> None:
        self._in_title = self._in_title and tag != "title"

    def handle_data(self, data: str) -> None:
        self.title += data if self._in_title else ""


def assert_structured(html: str) -> None:
    """One language, title, main part and first heading; no heading level left out; cells have heads."""
    page = Structure(html)
    assert page.language == "en" and page.title.strip() and page.mains == 1
    assert page.levels.count(1) == 1 and page.levels[0] == 1
    jumps = [(a, b) for a, b in zip(page.levels, page.levels[1:], strict=False) if b > a + 1]
    assert not jumps, f"headings skip a level: {jumps}"
    assert (page.unscoped, page.undescribed) == (0, 0)


def palettes(css: str) -> dict[str, dict[str, str]]:
    """``light`` and ``dark`` -> variable -> colour, as the style sheet's ``:root`` blocks set them."""
    blocks = re.findall(r"(@media \(prefers-color-scheme: ?dark\) ?\{ ?)?:root ?\{([^}]*)\}", css)
    light: dict[str, str] = {}
    dark: dict[str, str] = {}
    for media, body in blocks:
        found = {name: value.strip() for name, value in re.findall(r"--([\w-]+):\s*(#\w+)", body)}
        (dark if media else light).update(found)
    return {"light": light, "dark": light | dark}


def contrast(a: str, b: str) -> float:
    """Contrast ratio of two colours ``#rgb`` or ``#rrggbb``, 1 to 21 (WCAG 2.2)."""
    bright, faint = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (bright + 0.05) / (faint + 0.05)


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def faint_texts(palette: Mapping[str, str]) -> list[tuple[str, str, float]]:
    """Text and ground whose contrast is too low, with the contrast."""
    pairs = [(text, ground) for text in TEXT for ground in GROUNDS]
    pairs += [(name, f"{name}-ground") for name in TINTED]
    found = [(a, b, contrast(palette[a], palette[b])) for a, b in pairs if {a, b} <= palette.keys()]
    return [one for one in found if one[2] < ENOUGH]


def grave_findings(pages: Iterable[Path]) -> list[str]:
    """What axe-core calls serious or critical, in Chromium, narrow and wide, light and dark."""
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    found: list[str] = []
    axe = Axe()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        for width, height in SIZES:
            for scheme in ("light", "dark"):
                # the pages allow no script at all; axe-core is one
                context = browser.new_context(
                    viewport={"width": width, "height": height}, color_scheme=scheme, bypass_csp=True
                )
                for path in pages:
                    page = context.new_page()
                    page.goto(path.resolve().as_uri())
                    violations: list[dict[str, Any]] = axe.run(page).response["violations"]
                    found += [
                        f"{path.name} at {width} px, {scheme}: {one['id']} ({one['nodes'][0]['target']})"
                        for one in violations
                        if one["impact"] in GRAVE
                    ]
                    if page.evaluate("document.documentElement.scrollWidth") > width:
                        found.append(f"{path.name} is wider than {width} px")
                    page.close()
                context.close()
        browser.close()
    return found
