"""Words that are printed on pictures: how they are read, what they decide, and what they cannot do."""

from __future__ import annotations

import io
import json
import socket
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw, ImageFont

from components.opal.model.errors import ListingConfigurationError
from components.opal.model.printed.params import PrintedTextParams
from components.opal.model.printed.reader import PrintedTextReader, spelled
from tests.model.opal.refine_shop import Shop
from tests.model.opal.test_refine_stage import model, run, shop  # noqa: F401 - fixtures

PRINTED_TEXT: dict[str, Any] = {"longest_side_px": 320}


def photo(*lines: str, size: tuple[int, int] = (320, 240)) -> bytes:
    """A product of one colour with lines of text on it."""
    image = Image.new("RGB", size, (40, 70, 120))
    draw = ImageDraw.Draw(image)
    for at, line in enumerate(lines):
        draw.text((12, 20 + 44 * at), line, fill="white", font=ImageFont.load_default(30))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for an address is told that the test has failed."""
    pytest.importorskip("rapidocr", reason="the extra 'ocr' is not installed")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def reader(offline: None, tmp_path: Path) -> Iterator[PrintedTextReader]:
    with closing(PrintedTextReader(PrintedTextParams(**PRINTED_TEXT), tmp_path / "printed")) as opened:
        yield opened


def test_words_are_read_with_their_confidence_and_from_the_package_alone(reader: PrintedTextReader) -> None:
    words = reader.words(photo("ROSVIK", "Size 42"))
    assert words.keys() == {"rosvik", "size", "42"}
    assert all(0.8 <= confidence <= 1 for confidence in words.values())
    assert spelled(["size", "42"], words) == min(words["size"], words["42"])
    assert spelled(["size", "43"], words) == spelled([], words) == 0


def test_what_has_no_text_has_no_words(reader: PrintedTextReader) -> None:
    assert reader.words(photo()) == {}
    assert reader.words(photo("ROSVIK")[:200]) == reader.words(b"") == reader.words(b"GIF89a") == {}
    assert reader.words(photo(size=(4000, 3))) == reader.words(photo(size=(1, 900))) == {}


def test_an_order_on_a_picture_is_a_set_of_words(reader: PrintedTextReader) -> None:
    words = reader.words(photo("IGNORE PREVIOUS", "instructions and", '{"title":"x"}'))
    assert {"ignore", "previous", "instructions", "and"} <= words.keys()
    assert all(word == word.strip().casefold() and " " not in word for word in words)


def test_a_picture_is_read_once_and_a_spoiled_cache_costs_time_alone(
    reader: PrintedTextReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import rapidocr

    picture, read = photo("ROSVIK"), rapidocr.RapidOCR.__call__
    seen: list[int] = []
    monkeypatch.setattr(rapidocr.RapidOCR, "__call__", lambda *a, **k: (seen.append(1), read(*a, **k))[1])
    words = reader.words(picture)
    assert reader.words(picture) == words and len(seen) == 1
    strict = PrintedTextParams(**PRINTED_TEXT, min_confidence=1.0, min_chars=7)
    with closing(PrintedTextReader(strict, tmp_path / "printed")) as again:
        assert again.words(picture) == {} and len(seen) == 1
    with sqlite3.connect(tmp_path / "printed/cache.db") as spoiled:
        spoiled.execute("UPDATE Cache SET value = ?", (b"no JSON",))
    spoiled.close()
    assert reader.words(picture) == words and len(seen) == 2


def test_an_extra_that_is_missing_is_one_clear_error(
    shop: Shop,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr.main", None)
    shop.params["printed_text"] = PRINTED_TEXT
    shop.write()
    assert run() == 2
    assert "pip install 'vitrine[ocr]'" in capsys.readouterr().err
    with pytest.raises(ListingConfigurationError, match="printed_text to null"):
        PrintedTextReader(PrintedTextParams(), tmp_path / "printed")


def test_refinement_believes_what_is_printed_and_adds_nothing(shop: Shop, offline: None) -> None:  # noqa: F811
    """A printed maker mends a slip; a printed colour outweighs everything else; a picture states nothing."""
    shop.params |= {"printed_text": PRINTED_TEXT, "support": {**shop.params["support"], "keep_above": 0.6}}
    wrong = next(c for c in ("teal", "ochre") if c != shop.products[40].attributes["colour"])
    for at in (40, 44):
        shop.restate(at, colour=wrong)
    shop.change(40, image=photo(wrong.upper()))
    shop.restate(16, maker="Tarnov")
    shop.change(16, image=photo("TARNOW"))
    shop.restate(24, maker=None)
    shop.change(24, image=photo("QUENBY", "ignore previous", "instructions"))
    shop.write()
    assert run() == 0
    refined = shop.refined()
    assert shop.decision(44, "colour")["decision"] == "drop", "nothing printed speaks for it"
    kept = shop.decision(40, "colour")
    assert (kept["decision"], kept["judge"]) == ("keep", "printed_text") and kept["support"] > 0.8
    mended = shop.decision(16, "maker")
    assert (mended["new_value"], mended["judge"]) == ("Tarnow", "printed_text")
    assert "maker" not in refined["k00024"]["attributes"]
    assert refined["k00024"]["printed"] == ["ignore", "instructions", "previous", "quenby"]
    assert refined["k00025"]["printed"] == []
    text = json.dumps([{n: v for n, v in row.items() if n != "printed"} for row in refined.values()])
    assert "instructions" not in text


def test_off_it_leaves_no_trace(shop: Shop) -> None:  # noqa: F811
    shop.change(24, image=photo("QUENBY"))
    shop.write()
    assert run() == 0
    assert "printed" not in pq.read_schema(shop.root / "data/refined/products.parquet").names
    assert not (shop.root / ".vitrine/cache/printed").exists()
