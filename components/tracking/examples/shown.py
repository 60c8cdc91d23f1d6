"""What MLflow shows of an evaluation besides its figures: tables, and ten examples of each system."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.stage.files.pages import render_page
from components.stage.files.thumbnails import thumbnail
from components.tracking.compare.catalogue import Products, decoded, encoded, read_products, small
from components.tracking.compare.gallery import Example
from components.tracking.compare.per_query import read_results
from components.tracking.examples.beside import Beside, Measured, beside, confusion, told
from components.tracking.examples.cards import WIDE, box_card, card
from components.tracking.lineage.lockfile import LockEntry
from components.tracking.params import TrackingParams
from components.tracking.publish.datasets import checked_files
from components.tracking.publish.figures import Tables, headline_of, logged_table

if TYPE_CHECKING:
    from PIL.Image import Image

PER_QUERY = "results/per_query/"
MOST = 10  # examples of a system
TEMPLATE = Path(__file__).parent / "page.jinja"
ASKED = ("asked", "figure", "value", "value of the baseline", "answer", "answer of the baseline")
Who = tuple[str, str]  # table and variant
IMAGES, IMAGES_TAG = "images", {"mlflow.loggedImages": "True"}  # by which the pages know that a run has some
KEY_LENGTH = 60
GRID_PX = 256  # longest side of the small copy that MLflow's image grid shows


@dataclass
class StageEvaluation:
    """The evaluation of one stage: what it measured query by query, and the catalogue it asked about."""

    measured: Measured
    products: Products
    params: TrackingParams
    pictures: dict[str, bytes] = field(default_factory=dict)
    _found: dict[Who, Beside | None] = field(default_factory=dict)

    def main_systems(self, tables: Tables) -> set[Who]:
        """The main system of each evaluation."""
        known = {name: headline_of(self.params, name) for name in tables}
        return {(name, headline.variant) for name, headline in known.items() if headline}

    def tables(self, tables: Tables) -> dict[str, str]:
        """File -> table of queries won and lost and of values confused, of each evaluation's main system."""
        made: dict[str, str] = {}
        for who in sorted(self.main_systems(tables)):
            if found := self._beside(who):
                made |= found.won_and_lost(self.products) if found.baseline else {}
                made |= confusion(self.measured, *who)
        return made

    def fetch(self, systems: Iterable[Who]) -> None:
        """Read the pictures of all that will be shown of ``systems``, in one pass over the catalogue."""
        rows = [one for who in systems for one in self._sample(self._beside(who))]
        wanted = {product for one in rows for product in (one.product, *one.shown(0, 1)) if product}
        self.pictures |= dict(encoded(self.products, wanted - self.pictures.keys()))

    def lay_out(self, folder: Path, who: Who, own: str, timestamp: int) -> bool:
        """Write a system's pictures for the grid below ``folder``; whether there are any."""
        found = self._beside(who)
        if not found:
            return False
        boxes = {f"box - {asked}": picture for asked, picture in self._box_cards(found).values()}
        rows = self._sample(found)
        cards = boxes or {f"{_kind(one)} - {one.asked}": self._card(one, found) for one in rows}
        lay_out_images(folder, own, timestamp, cards)
        return bool(cards)

    def lay_out_page(self, folder: Path, who: Who, on: str) -> bool:
        """Write the page and the table of a system's examples into ``folder``; whether there are any."""
        found = self._beside(who)
        rows = self._sample(found)
        if not found or not rows:
            return False
        ids = {product for one in rows for product in (one.product, *one.shown(0, 1))}
        boxes = {p: thumbnail(c, WIDE, 70, "webp").uri for p, (_, c) in self._box_cards(found).items()}
        context = {
            "found": found,
            "examples": rows,
            "titles": self.products.titles,
            "pictures": {i: uri for i in ids if i in self.pictures and (uri := small(self.pictures[i]))},
            "on": on or "what was measured",
            "drawn": boxes,
        }
        number = {"number": lambda value: f"{value:.2f}"}
        table: list[list[Any]] = []
        for one in rows:
            theirs, ours = one.answers
            other = (round(theirs.value, 4), told(theirs, self.products)) if found.baseline else (None, "")
            value, said = round(ours.value, 4), told(ours, self.products)
            table.append([one.asked, found.figure, value, other[0], said, other[1]])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "examples.html").write_text(render_page(TEMPLATE, number, **context), encoding="utf-8")
        (folder / "examples.json").write_text(logged_table(ASKED, table))
        return True

    def _beside(self, who: Who) -> Beside | None:
        if who not in self._found:
            headline = headline_of(self.params, who[0])
            self._found[who] = beside(self.measured, *who, headline) if headline else None
        return self._found[who]

    def _sample(self, found: Beside | None) -> tuple[Example, ...]:
        return found.sample(MOST, self.products) if found else ()

    def _box_cards(self, found: Beside) -> dict[str, tuple[str, Image]]:
        """Product -> its name and its picture with boxes; {} of a system that draws none."""
        boxes = found.boxes(MOST, self.products)
        return {b.product: (b.asked, box_card(b, found.figure, self._opened(b.product))) for b in boxes}

    def _card(self, one: Example, found: Beside) -> Image:
        shown = one.shown(0, 1)
        return card(one, found.figure, {i: p for i in shown if (p := self._opened(i))})

    def _opened(self, product: str) -> Image | None:
        return decoded(self.pictures.get(product, b""), WIDE)


def read_shown(
    root: Path, entry: LockEntry | None, files: Mapping[str, Path], params: TrackingParams
) -> StageEvaluation:
    """What can be shown of a stage, from the per-query files among ``files`` and the data that it read."""
    per_query = {
        name.removeprefix(PER_QUERY): file.read_bytes()
        for name, file in files.items()
        if name.startswith(PER_QUERY) and name.endswith(".parquet")
    }
    products = read_products(checked_files(root, entry) if per_query else {})
    return StageEvaluation(read_results(per_query), products, params)


def _kind(example: Example) -> str:
    return "query" if example.answers[1].found else "listing"


def key_of(text: str) -> str:
    """A name of a picture that MLflow takes; another text has another name."""
    plain = " ".join(re.sub(r"[^A-Za-z0-9_\-. ]+", " ", text).split())[:KEY_LENGTH].strip()
    if plain == text:
        return plain
    return f"{plain} {hashlib.sha256(text.encode()).hexdigest()[:4]}".strip()


def lay_out_images(folder: Path, own: str, timestamp: int, pictures: Mapping[str, Image]) -> None:
    """Write each picture, and its small copy, below ``folder``; ``own`` says whose they are.

    MLflow's ``log_image`` gives each picture a name of chance, so that writing a run again would show it
    twice. Under a name made from the run's own they are the same files.
    """
    for text, picture in pictures.items():
        key = key_of(text)
        name = f"{key}+step+0+timestamp+{timestamp}+{uuid.uuid5(uuid.NAMESPACE_URL, f'{own}:{key}')}"
        (folder / IMAGES).mkdir(parents=True, exist_ok=True)
        picture.save(folder / IMAGES / f"{name}.png", compress_level=3)
        small = picture.copy()
        small.thumbnail((GRID_PX, GRID_PX))
        small.save(folder / IMAGES / f"{name}+compressed.webp", quality=85, method=2)
