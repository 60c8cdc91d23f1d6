"""Writing listings in batches beside a plain loop of one ``model.generate`` per picture.

Same model, pictures, prompts, precision and limit of tokens, greedy on both sides, runs alternating. The
peer is what the model's card would ask a user to write: processor, ``generate``, decode, one picture at a
time. Case ``free`` decodes freely on both sides; case ``by_schema`` holds ours to the category's JSON
Schema, the peer to nothing, so there ours does more work. Both sides' texts are compared: batches are
padded, and bf16 rounds differently with the shape of a batch, so a few of them may differ.

Needs a workspace with ``data/checked`` and ``models/listing/sft_refined``. Run:
``python -m benchmarks.listing [--products 256] [--runs 3] [--model models/listing/sft_refined]``
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from benchmarks.result import Task, rate_row
from components.catalog.format.schema import read_schema
from components.encoder.model.features.rows import read_rows
from components.opal.model.language.files import load_listing_model, read_note
from components.opal.model.language.listing_model import ListingModel
from components.opal.model.language.pictures import catalogue_pixels
from components.opal.model.listing_text import question
from components.opal.model.writing.conversation import Conversation
from components.opal.model.writing.generate import Decoding, ListingGenerator
from components.stage.paths import Paths
from components.stage.resources.accelerator import autocast
from components.stage.resources.memory import keep_freed_memory

CATALOGUE = Path("data/checked")
RESULTS = Path("benchmarks/results/listing.json")


def plain_loop(
    model: ListingModel,
    note: dict[str, Any],
    pixels: npt.NDArray[np.uint8],
    categories: list[str],
    decoding: Decoding,
) -> list[str]:
    """The peer: one picture, one call."""
    conversation, texts = Conversation(model), []
    for picture, category in zip(pixels, categories, strict=True):
        inputs = model.processor(
            images=[[Image.fromarray(picture)]],
            text=[conversation.prompt(question(note["prompt"], category))],
            add_special_tokens=False,
            return_tensors="pt",
        )
        with torch.inference_mode(), autocast(torch.device("cpu"), "bf16"):
            out = model.model.generate(
                **inputs,
                max_new_tokens=decoding.max_new_tokens,
                do_sample=False,
                pad_token_id=model.tokenizer.pad_token_id,
                eos_token_id=model.tokenizer.eos_token_id,
            )
        written = out[0, inputs["input_ids"].shape[1] :]
        texts.append(
            model.tokenizer.decode(written, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )
    return texts


def main() -> None:
    """Run the cases, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", type=int, default=256)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--model", type=Path, default=Path("models/listing/sft_refined"))
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(2)
    model, note = load_listing_model(arguments.model), read_note(arguments.model)
    rows = read_rows(CATALOGUE)
    chosen = [i for i, r in enumerate(rows) if r["split"] == "test"][: arguments.products]
    shown = catalogue_pixels(Paths(), note["image_px"], note["crop"])
    pixels = shown.take(np.array(chosen, dtype=np.int64))
    categories = [rows[i]["category"] for i in chosen]
    decoding = Decoding(64, note["max_new_tokens"], "bf16")
    generator = ListingGenerator(model, note, read_schema(CATALOGUE / "schema.json"), decoding)
    times: dict[str, list[float]] = {"free": [], "by_schema": [], "peer": []}
    same = 0
    for _ in range(arguments.runs):
        for case in ("free", "by_schema"):
            start = time.perf_counter()
            written = generator(pixels, categories, constrained=case == "by_schema")
            times[case].append(time.perf_counter() - start)
            if case == "free":
                free = [w.text for w in written]
        start = time.perf_counter()
        plain = plain_loop(model, note, pixels, categories, decoding)
        times["peer"].append(time.perf_counter() - start)
        same = sum(a == b for a, b in zip(free, plain, strict=True))
    task = Task(len(chosen), "one model.generate per picture", "listings/s")
    results = [rate_row(case, task, times[case], times["peer"]) for case in ("free", "by_schema")]
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for result in results:
        print(result)
    print(f"{same} of {len(chosen)} texts are the same, free decoding")


if __name__ == "__main__":
    main()
