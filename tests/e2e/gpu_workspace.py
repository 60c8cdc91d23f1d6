"""A workspace for ``conf/gpu.yaml`` on one core: tiny random checkpoints, a shop's files, a chat endpoint."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from components.parameters.listing import resolved
from tests.model.llm.faulty_server import Act

PROJECT = Path(__file__).resolve().parents[2]
# Every parameter of the profile gpu, defaults included
GIVEN = {name: block.model_dump(mode="json") for name, block in resolved(PROJECT, "gpu").items()}
KEY = "a-key-that-must-not-be-written-anywhere"
HUB_NAME = re.compile(r"([\w-]+:)?[A-Za-z0-9][\w.-]*/[\w.-]+")
# The last parts of parameters that may say where weights come from, whatever their value looks like.
WEIGHTS_KEYS = ("architecture", "checkpoint", "folder", "model", "pretrained", "weights")
PRODUCTS = 240
SHOP = {
    "seed": 3,
    "products": PRODUCTS,
    "variant_share": 0.3,
    "test_fraction": 0.2,
    "validation_fraction": 0.2,
    "image_px": 96,
    "supersampling": 1,
    "neighbours_painted": 24,
    "workers": 1,
    "queries": {"count": {"train": 120, "validation": 40, "test": 60}},
}
MAPPING = {
    "products": "products.jsonl",
    "fields": {
        "product_id": "sku",
        "title": "name",
        "description": "text",
        "category": "department",
        "product_type": "kind",
    },
    "image": {"path": "photo", "folder": "photos"},
    "attributes": ["specs.*"],
    "split": "fold",
    "group": "design",
    "queries": {
        "file": "queries.jsonl",
        "fields": {"query_id": "query_id", "text": "text", "kind": "kind", "split": "split"},
    },
    "qrels": {
        "file": "qrels.jsonl",
        "fields": {
            "query_id": "query_id",
            "product_id": "product_id",
            "relevance": "relevance",
            "desirability": "desirability",
        },
    },
}


def leaves(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Every parameter of a profile as its dotted name and its value; lists count as values."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def checkpoints(values: dict[str, Any]) -> dict[str, str]:
    """What a profile takes from outside the workspace: hub names, and all that is named like weights."""
    found = {n: v for n, v in leaves(values) if isinstance(v, str)}
    return {
        name: value
        for name, value in found.items()
        if not value.startswith("models/")  # of the graph itself
        and (HUB_NAME.fullmatch(value) or name.rpartition(".")[2] in WEIGHTS_KEYS)
    }


def changed(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The profile with some parameters set; each must be there already."""
    out = json.loads(json.dumps(values))
    for name, value in changes.items():
        *path, last = name.split(".")
        block = out
        for part in path:
            block = block[part]
        assert last in block, f"{name} is no parameter"
        block[last] = value
    return out


def write_source(folder: Path) -> list[tuple[str, str]]:
    """The synthetic shop, with careless sellers, as foreign files: JSON lines, photos, queries, qrels.

    Returns:
        Category and listing (compact JSON) of every product, as the sellers wrote them.
    """
    from components.catalog.noise.params import NoiseParams
    from components.catalog.noise.seller_text import SellerNoise
    from components.opal.model.listing_text import compact_json
    from components.shop.params import ShopParams
    from components.shop.shop import Shop

    shop = Shop(ShopParams.model_validate(SHOP))
    noise = SellerNoise(NoiseParams(), shop.schema(), 3)
    (folder / "photos").mkdir(parents=True)
    rows = []
    for clean, _ in shop.products():
        product, _ = noise.apply(clean)
        photo = f"{product.product_id}.jpg"
        (folder / "photos" / photo).write_bytes(product.image)
        rows.append(
            {
                "sku": product.product_id,
                "name": product.title,
                "text": product.description,
                "department": product.category,
                "kind": product.product_type,
                "photo": photo,
                "specs": product.attributes,
                "fold": product.split,
                "design": product.group_id,
            }
        )
    queries, qrels = shop.queries()
    write_lines(folder / "products.jsonl", rows)
    write_lines(folder / "queries.jsonl", [query.model_dump() for query in queries])
    write_lines(folder / "qrels.jsonl", [qrel._asdict() for qrel in qrels])
    (folder.parent / "mapping.yaml").write_text(yaml.safe_dump(MAPPING))
    listings = [compact_json({"attributes": row["specs"], "title": row["kind"]}) for row in rows]
    return [(row["department"], listing) for row, listing in zip(rows, listings, strict=True)]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def chat(_: int, body: dict[str, Any]) -> Act:
    """A chat model that sees pictures: it writes facts, adds one word of its own, and heeds the critique."""
    content = body["messages"][1]["content"]
    data = json.loads(content[-1]["text"])
    task = body["response_format"]["json_schema"]["name"]
    if task == "check_values":
        verdicts = ["contradicted", "shown", "not visible"]
        told = [
            {"attribute": v["attribute"], "verdict": verdicts[len(v["value"]) % 3]} for v in data["values"]
        ]
        return Act(json.dumps({"verdicts": told}))
    record = data["record"]
    facts = " ".join(f["value"] for f in data["evidence"] if f["stated"])
    if task == "evaluator":
        bad = data["checks"]["unsupported"] or data["checks"]["strange"]
        return Act(json.dumps({"critique": "Take out what has no ground." if bad else "<STOP>"}))
    boast = "flabbergasting " if task == "summarizer" else ""
    return Act(json.dumps({"text": f"{boast}{record['product_type']}: {facts}"[:160]}))


def stage_commands(graph: Path) -> dict[str, list[str]]:
    """Stage -> its command's words, in an order in which every stage finds what it reads."""
    stages: dict[str, tuple[list[str], set[str], set[str]]] = {}
    for name, stage in yaml.safe_load(graph.read_text())["stages"].items():
        reads = set(stage["deps"])
        for item in _items(stage):
            outs = {out if isinstance(out, str) else next(iter(out)) for out in stage.get("outs", [])}
            outs |= {next(iter(out)) for out in stage.get("metrics", []) if not isinstance(out, str)}
            made = {_filled(out, item) for out in outs}
            known = f"{name}@{item}" if item else name
            stages[known] = (_filled(stage["cmd"], item).split(), reads, made)
    ordered: dict[str, list[str]] = {}
    while len(ordered) < len(stages):
        waiting = {out for n, (_, _, made) in stages.items() if n not in ordered for out in made}
        ready = [n for n in stages if n not in ordered and not _reads_any(stages[n][1], waiting)]
        assert ready, f"{graph} has a circle among {sorted(set(stages) - set(ordered))}"
        ordered |= {n: stages[n][0] for n in ready}
    return ordered


def _items(stage: dict[str, Any]) -> list[str]:
    matrix = stage.get("matrix")
    return list(next(iter(matrix.values()))) if matrix else [""]


def _filled(text: str, item: str) -> str:
    return re.sub(r"\$\{item\.\w+\}", item, text)


def _reads_any(reads: set[str], waiting: set[str]) -> bool:
    return any(r == w or w.startswith(f"{r}/") or r.startswith(f"{w}/") for r in reads for w in waiting)


def environment(root: Path, url: str) -> dict[str, str]:
    """No hub, an empty cache of it, no GPU, one thread; the endpoint where the profile looks for it."""
    return {
        **os.environ,
        "PYTHONPATH": str(PROJECT),
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(root / "empty-hub-cache"),
        "XDG_CACHE_HOME": str(root / "empty-cache"),
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        "OMP_PROC_BIND": "false",
        "VITRINE_LLM_URL": url,
        "VITRINE_LLM_KEY": KEY,
    }


def run_stage(root: Path, stage: str, words: list[str], env: dict[str, str]) -> float:
    """Run one command of the graph in ``root``; its processor seconds. A failure tells what it said."""
    start = _child_seconds()
    command = [sys.executable, *words[1:]]
    done = subprocess.run(
        command, cwd=root, env=env | {"DVC_STAGE": stage}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{stage} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return _child_seconds() - start


def _child_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
