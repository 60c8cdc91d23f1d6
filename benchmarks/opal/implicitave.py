"""Attributes that only a real photo tells: ImplicitAVE's evaluation split, for what a model of ours covers.

The set (Zou et al. 2024, arXiv 2404.15592) has one human-checked attribute of each photo, from a closed list,
which the title does not state. A model covers an attribute if its category has one of that name, and a value
if exactly one of its own has no word that theirs lacks. So what is asked depends on the model, and neither a
name nor a value of the set stands here. Each photo is asked in the category that its own path names, and
answered by one of the covered values:

- ``listing``: the model writes a whole listing, in which the attribute must be stated.
- ``linear_probe``: logistic regression on frozen features, taught by the model's own train split.
- ``majority``: the value that most of these photos have, known beforehand.

What a model learned from decides what it can tell: drawn pictures are no photos. The set is no part of the
project, and no stage reads it: whoever has none of it has the same graph. In a workspace:
``python -m benchmarks.opal.implicitave FOLDER [--model models/listing/dpo]``
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from components.catalog.format.params import ImageLimits
from components.catalog.format.schema import Attribute, CatalogSchema, read_schema
from components.encoder.model.features.attribute_probe import AttributeProbe
from components.encoder.model.features.encode import BatchEncoder
from components.encoder.model.features.rows import read_rows
from components.encoder.model.towers.files import load_encoder
from components.opal.describe.photos import PhotoReader, read_photo
from components.opal.evaluate.listings.baselines import Known, picture_features
from components.opal.model.language.files import load_listing_model, read_note
from components.opal.model.listings import refined_listings
from components.opal.model.params import ListingEvalParams, ListingParams, VisionParams
from components.opal.model.writing.generate import Decoding, ListingGenerator
from components.retrieval.significance import bootstrap_interval, paired_bootstrap
from components.stage.paths import Paths

RESULTS = Path("benchmarks/results/implicitave.json")
FILE = "products.jsonl"
LEAST = 2  # values that must be covered, or there is nothing to tell apart
ENDING = re.compile(r"(?:es|s|ed|en|e)$")
Floats = npt.NDArray[np.float64]


def stems(text: str) -> set[str]:
    """Words without their endings: stripes, striped and stripe are one."""
    bare = (ENDING.sub("", word) or word for word in re.findall("[a-z]+", text.casefold()))
    return {re.sub(r"(.)\1$", r"\1", word) for word in bare}


def meant(value: str, own: Sequence[str]) -> str | None:
    """The one of our values whose every word is in theirs."""
    found = [ours for ours in own if stems(ours) <= stems(value)]
    return found[0] if len(found) == 1 else None


class Asked(NamedTuple):
    """One question of a category: an attribute, and the values of which one is the answer."""

    category: str
    name: str


class Photo(NamedTuple):
    """One photo and its right value, in our words."""

    path: Path
    value: str


def category_of(path: Sequence[str], schema: CatalogSchema) -> str | None:
    """The one category that a path names, by the category's own name or that of a product type."""
    named = set().union(*(stems(part) for part in path))
    found = [
        name
        for name, category in schema.categories.items()
        if any(stems(word) <= named for word in (name, *category.product_types))
    ]
    return found[0] if len(found) == 1 else None


def covered(folder: Path, schema: CatalogSchema) -> dict[Asked, list[Photo]]:
    """The photos that the model's schema can answer about."""
    out: dict[Asked, list[Photo]] = defaultdict(list)
    for line in (folder / FILE).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        category = category_of(row["category_path"], schema)
        if category is None:
            continue
        ((theirs, value),) = row["attributes"].items()
        for name, attribute in schema.categories[category].attributes.items():
            if attribute.values and stems(name) <= stems(theirs) and (ours := meant(value, attribute.values)):
                out[Asked(category, name)].append(Photo(folder / row["image"], ours))
    return {asked: photos for asked, photos in out.items() if len({p.value for p in photos}) >= LEAST}


def closed(schema: CatalogSchema, asked: Asked, values: Sequence[str], others: bool) -> CatalogSchema:
    """The asked category alone, its attribute required to be one of ``values``; ``others`` stay with it."""
    category = schema.categories[asked.category]
    kept = {n: a.model_copy(update={"required": False}) for n, a in category.attributes.items() if others}
    kept[asked.name] = Attribute(type="enum", values=tuple(values), required=True)
    return CatalogSchema(categories={asked.category: category.model_copy(update={"attributes": kept})})


class Answers:
    """Both ways to answer, over one workspace."""

    def __init__(self, model: Path, paths: Paths) -> None:
        self.folder, self.model, self.note = model, load_listing_model(model), read_note(model)
        self.rows, self.refined = read_rows(paths.catalogue), refined_listings(paths.refined)
        how = ListingEvalParams()
        vision = VisionParams(crop=self.note["crop"])
        self.features = picture_features(
            paths, how, ListingParams(vision=vision, precision=self.note["precision"])
        )
        loaded = load_encoder(paths.encoder)
        self.encoder = BatchEncoder(loaded, how.picture_batch_size, self.note["precision"])

    def shown(self, schema: CatalogSchema, asked: Asked, photos: Sequence[Photo]) -> npt.NDArray[np.uint8]:
        """Photos as the listing model reads them, ``[N, px, px, 3]``."""
        decoding = Decoding(64, self.note["max_new_tokens"], self.note["precision"])
        writer = ListingGenerator(self.model, self.note, schema, decoding)
        reader = PhotoReader(self.folder, writer, ImageLimits(), 2)
        return reader.read(
            [read_photo(p.path, reader.limits) for p in photos], [asked.category] * len(photos)
        ).pixels

    def listing(self, schema: CatalogSchema, asked: Asked, photos: Sequence[Photo]) -> list[str | None]:
        """What a whole listing states."""
        decoding = Decoding(64, self.note["max_new_tokens"], self.note["precision"])
        writer = ListingGenerator(self.model, self.note | {"require_attributes": True}, schema, decoding)
        pixels = self.shown(schema, asked, photos)
        written = writer(pixels, [asked.category] * len(photos), constrained=True)
        said = [g.listing.attributes.get(asked.name) if g.listing else None for g in written]
        return [value if isinstance(value, str) else None for value in said]

    def probe(self, schema: CatalogSchema, asked: Asked, photos: Sequence[Photo]) -> list[str | None]:
        """What frozen features say."""
        pixels = self.shown(schema, asked, photos)
        shown = self.encoder.pixel_features(pixels).astype(np.float32)
        own = len(self.rows)

        def take(at: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
            """Features of catalogue rows, and of the photos behind them."""
            inside = at < own
            out = np.empty((len(at), shown.shape[1]), np.float32)
            out[inside], out[~inside] = self.features.take(at[inside]), shown[at[~inside] - own]
            return out

        known = Known(self.rows, self.refined, self.features)
        parts = (known.stated(split) for split in ("train", "validation"))
        probe = AttributeProbe(schema, take, *parts, absent=False)
        found = probe.answers(np.arange(len(photos)) + own, [asked.category] * len(photos))
        return [str(row[asked.name].value) if asked.name in row else None for row in found]


def measured(answers: Answers, schema: CatalogSchema, found: Mapping[Asked, list[Photo]]) -> dict[str, Any]:
    """Accuracy of each way for each question, and over all photos, with paired differences."""
    lines, right = [], defaultdict(list)
    for asked, photos in sorted(found.items()):
        values = sorted({photo.value for photo in photos})
        most = Counter(photo.value for photo in photos).most_common(1)[0][0]
        said = {
            "listing": answers.listing(closed(schema, asked, values, others=True), asked, photos),
            "linear_probe": answers.probe(closed(schema, asked, values, others=False), asked, photos),
            "majority": [most] * len(photos),
        }
        hits = {
            way: [float(a == p.value) for a, p in zip(given, photos, strict=True)]
            for way, given in said.items()
        }
        for way, each in hits.items():
            right[way] += each
        shares = {way: round(float(np.mean(each)), 3) for way, each in hits.items()}
        lines.append({**asked._asdict(), "n": len(photos), "values": len(values), **shares})
    whole = {way: bootstrap_interval(each, 0).model_dump() for way, each in right.items()}
    tests = [
        {"a": "listing", "b": way, **paired_bootstrap(right["listing"], right[way], 0).model_dump()}
        for way in ("linear_probe", "majority")
    ]
    return {"attributes": lines, "all": whole, "tests": tests}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help=f"ImplicitAVE: {FILE} and its pictures")
    parser.add_argument("--model", type=Path, default=Path("models/listing/dpo"))
    asked = parser.parse_args()
    if not (asked.folder / FILE).exists():
        print(f"skipped: there is no {asked.folder / FILE}")
        return
    torch.set_num_threads(2)
    paths = Paths()
    schema = read_schema(paths.catalogue / "schema.json")
    found = covered(asked.folder, schema)
    if not found:
        print(f"skipped: {asked.model} covers no attribute of {asked.folder}")
        return
    result = measured(Answers(asked.model, paths), schema, found)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for line in [*result["attributes"], *result["all"].items(), *result["tests"]]:
        print(line)


if __name__ == "__main__":
    main()
