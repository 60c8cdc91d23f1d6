"""A new measure of listings is one function, and its name in the list of measures (CONTRIBUTING.md)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MEASURE = """
def title_words(found: Comparison) -> float:
    return float(len(found.title.split()))


# What is measured"""
SCRIPT = """
import json, numpy as np
from components.catalog.format.schema import CatalogSchema
from components.opal.evaluate.listings.evaluation import ListingEvaluation
from components.opal.evaluate.listings.held_out import HeldOutListings
from components.opal.evaluate.listings.measures import Target
from components.opal.model.listing_text import Listing
from components.opal.model.writing.generate import Generated

schema = CatalogSchema.model_validate({"categories": {"c": {"product_types": ["t"], "attributes": {}}}})
said = [Listing("a cup"), Listing("a red cup"), Listing("one more red cup")]
targets = [Target(str(i), "c", listing) for i, listing in enumerate(said)]
held_out = HeldOutListings(np.arange(3), targets, list("xyz"), [set()] * 3, said, said)
evaluation = ListingEvaluation(held_out, schema, 1, 100)
written = [Generated(listing.title, listing) for listing in said]
evaluation.add("copy", written, written)
rows = evaluation.tables()["copy.parquet"].to_pylist()
print(json.dumps([evaluation.metrics()["copy"]["title_words"], [r["title_words"] for r in rows]]))
"""


def test_a_new_measure_is_one_function_and_its_name_in_the_list(tmp_path: Path) -> None:
    shutil.copytree(
        ROOT / "components", tmp_path / "components", ignore=shutil.ignore_patterns("__pycache__")
    )
    file = tmp_path / "components/opal/evaluate/listings/measures.py"
    text = file.read_text()
    for before, after in (
        ("\n# What is measured", MEASURE),
        ("    title_bleu,\n", "    title_bleu,\n    title_words,\n"),
    ):
        assert text.count(before) == 1
        text = text.replace(before, after)
    file.write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    figure, per_product = json.loads(done.stdout)
    assert per_product == [2, 3, 4]
    assert figure["value"] == 3 and figure["n"] == 3 and figure["low"] < 3 < figure["high"]
