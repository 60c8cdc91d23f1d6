"""Whether a promised rate of wrong values is kept on new data, and what is said of pictures of another kind.

Promise: products of the validation and the test split are drawn anew into calibration and test, whole groups
at a time, as many groups to calibrate on as validation has. Calibration is learned and a threshold chosen on
the one part, judged by refined listings; the rate of wrong values is counted on the other, against the truth.
Printed for each promise: in how many of the redraws it was kept, what was stated, and the mean rate.

Pictures: folders of photos that no training saw, each photo described in a drawn category: the share of the
category's fields that is stated by all values, above the threshold alone, and with the check of pictures.

Needs a workspace with ``data/checked``, ``data/refined``, ``data/truth`` and a model. Run:
``python -m benchmarks.opal.certainty [--redraws 100] [--model models/listing/dpo] [--photos FOLDER ...]``
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from components.catalog.format.attributes import facts, of_pairs
from components.catalog.format.params import ImageLimits
from components.catalog.format.schema import read_schema
from components.encoder.model.features.rows import read_rows, read_truth
from components.opal.describe.describe import Speaker
from components.opal.describe.photos import PhotoReader, photos_of, read_photo
from components.opal.model.certainty.certainty import Certainty, CertaintyFile, read_certainty
from components.opal.model.certainty.measure import JudgedProducts, Usual, learn_certainty, usual_of
from components.opal.model.language.files import load_listing_model, read_note
from components.opal.model.language.pictures import pictures_of
from components.opal.model.listing_text import Listing
from components.opal.model.listings import refined_listings
from components.opal.model.params import DescribeParams
from components.opal.model.writing.generate import Decoding, Generated, ListingGenerator
from components.stage.paths import Paths

RESULTS = Path("benchmarks/results/certainty.json")
PROMISES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
Rows = Sequence[Mapping[str, Any]]


def speaker_of(folder: Path, **point: float | None) -> Speaker:
    """The model of a folder, ready to describe at a point of its curve."""
    note = read_note(folder)
    decoding = Decoding(256, note["max_new_tokens"], note["precision"])
    schema = read_schema(Paths().catalogue / "schema.json")
    generator = ListingGenerator(load_listing_model(folder), note, schema, decoding)
    params = DescribeParams.model_validate({"precision": None, "completion": None, **point})
    return Speaker(generator, read_certainty(folder), params)


class Redraws:
    """Answers about products of two splits, judged by refined listings and by the truth."""

    def __init__(
        self, rows: Rows, generated: Sequence[Generated], refined: Mapping[str, Listing], usual: Usual
    ) -> None:
        self.rows, self.generated, self.usual = rows, generated, usual
        self.refined = [refined.get(row["product_id"], Listing("")) for row in rows]
        known = read_truth(Paths().truth)
        self.truth = [set(facts(of_pairs(known[row["product_id"]]["attributes"]))) for row in rows]
        self.groups = np.array([row["group_id"] for row in rows])

    def held(self, chosen: Sequence[str]) -> dict[float, tuple[float, float]]:
        """Promise -> rate of wrong values (NaN where nothing is stated) and share of fields stated, on the
        groups that are not ``chosen`` to calibrate on."""
        inside = np.isin(self.groups, chosen)
        a, b = np.flatnonzero(inside), np.flatnonzero(~inside)
        asked = JudgedProducts([self.rows[i] for i in a], [self.refined[i] for i in a], self.usual)
        file = learn_certainty([self.generated[i] for i in a], asked)
        sure = Certainty(file).calibrated(
            [self.generated[i] for i in b], [self.rows[i]["category"] for i in b]
        )
        values = [
            (one.confidence[name], (name, value) not in self.truth[i])
            for one, i in zip(sure, b, strict=True)
            if one.listing is not None
            for name, value in facts(one.listing.attributes)
            if name in one.confidence
        ]
        chance, wrong = np.array(values).T
        fields = sum(len(self.truth[i]) for i in b)
        out = {}
        for promise in PROMISES:
            stated = chance >= file.curve.for_precision(promise)
            rate = float(wrong[stated].mean()) if stated.any() else float("nan")
            out[promise] = (rate, float(stated.sum() / fields))
        return out


def promises(folder: Path, redraws: int) -> list[dict[str, float]]:
    """How each promise fares over redraws of calibration and test."""
    speaker, paths = speaker_of(folder), Paths()
    everything = read_rows(paths.catalogue)
    at = np.array([i for i, row in enumerate(everything) if row["split"] in ("validation", "test")])
    rows = [everything[i] for i in at]
    model, note = speaker.generator.model, speaker.generator.note
    pictures = pictures_of(model.model, note, paths)
    _, generated = speaker.generator.both(
        pictures.take(at), [row["category"] for row in rows], what="promise"
    )
    refined = refined_listings(paths.refined)
    table = Redraws(rows, generated, refined, usual_of(everything, refined))
    groups = np.unique(table.groups)
    count = len({row["group_id"] for row in rows if row["split"] == "validation"})
    found = [
        table.held(np.random.default_rng(seed).permutation(groups)[:count].tolist())
        for seed in range(redraws)
    ]
    out = []
    for promise in PROMISES:
        rates = np.array([one[promise][0] for one in found])
        out.append(
            {
                "promise": promise,
                "redraws": redraws,
                "held": int((~(rates > 1 - promise)).sum()),  # where nothing is stated nothing is wrong
                "silent": int(np.isnan(rates).sum()),
                "mean_wrong": float(np.nanmean(rates)) if np.isfinite(rates).any() else float("nan"),
                "mean_completion": float(np.mean([one[promise][1] for one in found])),
            }
        )
    return out


def other_pictures(folder: Path, photos: Path, count: int, precision: float) -> dict[str, Any]:
    """Share of fields that are stated of photos of another catalogue."""
    speaker = speaker_of(folder, precision=precision)
    limits, schema = ImageLimits(), speaker.generator.schema
    reader = PhotoReader(folder, speaker.generator, limits, 2)
    random = np.random.default_rng(0)
    found = photos_of(photos)
    chosen = [found[i] for i in random.permutation(len(found))[:count]]
    data = [read_photo(path, limits) for path in chosen]
    asked = random.choice(sorted(schema.categories), len(chosen))
    ways = {"all": (0.0, False), "threshold": (speaker.threshold, False), "both": (speaker.threshold, True)}
    stated = dict.fromkeys(ways, 0)
    unlike = fields = 0
    checked, unchecked = (
        speaker.certainty,
        Certainty(CertaintyFile(calibration=speaker.certainty.file.calibration)),
    )
    for category in sorted(set(asked)):
        those = [data[i] for i in np.flatnonzero(asked == category)]
        part = reader.read(those, [category] * len(those)).pixels
        fields += len(part) * len(schema.categories[category].attributes)
        for way, (speaker.threshold, looks) in ways.items():
            speaker.certainty = checked if looks else unchecked
            said = speaker(part, category)
            stated[way] += sum(len(s.generated.listing.attributes) for s in said if s.generated.listing)
            unlike += sum(s.unlike for s in said)
    shares = {f"stated_{way}": n / fields for way, n in stated.items()}
    return {"photos": "/".join(photos.parts[-2:]), "n": len(chosen), "unlike": unlike / len(chosen), **shares}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redraws", type=int, default=100)
    parser.add_argument("--model", type=Path, default=Path("models/listing/dpo"))
    parser.add_argument("--photos", type=Path, nargs="*", default=[])
    parser.add_argument("--count", type=int, default=300, help="photos of each folder")
    parser.add_argument("--precision", type=float, default=DescribeParams().precision)
    asked = parser.parse_args()
    for folder in filter(Path.is_dir, asked.photos):
        photos_of(folder)  # a folder without photos is told before the work
    torch.set_num_threads(2)
    result: dict[str, Any] = {"promises": promises(asked.model, asked.redraws), "pictures": []}
    for folder in asked.photos:
        if not folder.is_dir():
            print(f"{folder} is absent: skipped")
            continue
        result["pictures"].append(other_pictures(asked.model, folder, asked.count, asked.precision))
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for line in [*result["promises"], *result["pictures"]]:
        print(line)


if __name__ == "__main__":
    main()
