"""What a catalogue says is shown on a terminal as text: never markup, never an order to the terminal."""

from __future__ import annotations

import json

import pytest

from components.retrieval.hits import Hit, print_hits
from components.stage.errors import InvalidDataError
from components.stage.files.printable import printable
from components.stage.frame import explain

RED, CSI = "\x1b[31mred\x1b[0m", "\x9b2J"


def hit(title: str, product_id: str = "p1") -> Hit:
    return Hit(1, 0.5, product_id, title, "shirt", {"note": f"[bold]{RED}[/bold]"})


@pytest.mark.parametrize("title", ["[/]", "Shirt [size M]", "[link=https://x.example]x[/link]", ":smile:"])
def test_titles_are_never_markup(title: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_hits([hit(title)], as_json=False)
    shown = capsys.readouterr().out
    assert title in shown and "[bold]" in shown


@pytest.mark.parametrize(
    "sent", [RED, CSI, "a\rb", "a\x7fb", "a\u202eb", "a\u2028b", "\x07", "a\u200e\u200f\u061cb"]
)
def test_no_order_to_the_terminal_comes_through(sent: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_hits([hit(sent, f"p{sent}")], as_json=False, ranked_by=sent)
    print(explain(InvalidDataError(f"The picture of product {sent} is broken."))[0])
    shown = capsys.readouterr().out
    assert not set(shown) & set("\x1b\x9b\r\x7f\u202e\u2028\x07\u200e\u200f\u061c")
    print_hits([hit(sent)], as_json=True)
    assert json.loads(capsys.readouterr().out)[0]["title"] == sent


def test_letters_of_every_script_and_signs_stay() -> None:
    for text in ("Schürze für Anfänger", "红色窗帘", "قميص أزرق", "👗 robe d'été – 3 €", "नीला\u200dकुर्ता"):
        assert printable(text) == text


@pytest.mark.parametrize("columns", [40, 80])
def test_ids_are_never_cut(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal, whose width counts
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "dumb")
    name = "SKU-2026-ABCDEFGH-0123456789"
    print_hits([hit("A long title that must give way " * 4, name)], as_json=False)
    assert name in capsys.readouterr().out
