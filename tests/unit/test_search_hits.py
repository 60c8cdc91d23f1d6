"""How hits are told: JSON for programs, a table for people."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from components.retrieval.hits import Hit, print_hits

HITS = [
    Hit(1, 0.75, "p7", "Tall “blue” mug", "mug", {"colour": "blue", "use": "office"}),
    Hit(2, 0.5, "p1", "", "teapot", {"use": ("home", "office")}),
]


def test_json_output_holds_every_field_of_every_hit(capsys: pytest.CaptureFixture[str]) -> None:
    print_hits(HITS, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads(json.dumps([asdict(hit) for hit in HITS]))
    assert told[1]["attributes"] == {"use": ["home", "office"]}
    print_hits([], as_json=True)
    assert json.loads(capsys.readouterr().out) == []


def test_hits_are_printed_as_a_table_or_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    print_hits(HITS, as_json=False)
    first, second = [line for line in capsys.readouterr().out.splitlines() if "0.7" in line or "0.5" in line]
    assert all(told in first for told in ("1", "0.750", "p7", "mug", "colour: blue; use: office"))
    assert all(told in second for told in ("2", "0.500", "p1", "teapot", "use: home, office"))
    print_hits([], as_json=False)
    assert "Nothing found" in capsys.readouterr().out


def test_a_sellers_text_is_printed_literally(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    print_hits([Hit(1, 0.75, "[/p]", "Mug [/bold] [red]sale", "[b]mug", {"[/a]": "[/v]"})], as_json=False)
    out = capsys.readouterr().out
    assert all(told in out for told in ("[/p]", "Mug [/bold] [red]sale", "[b]mug", "[/a]: [/v]"))
