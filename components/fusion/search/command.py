"""``search`` on the command line, over fused item vectors: a table for people, JSON for programs."""

from __future__ import annotations

import argparse
import sys

from components.fusion.model.errors import FusionConfigurationError
from components.fusion.model.params import CACHE, SearchParams
from components.fusion.search.search import CATALOGUE, MODELS, open_model, search
from components.retrieval.hits import conditions, print_hits
from components.stage.frame import explain
from components.stage.params import load_params


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m components.fusion search")
    parser.add_argument("text")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--where", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--json", action="store_true")
    return parser


def main(argv: list[str]) -> int:
    """Run the command behind ``search``; returns the exit code."""
    import torch

    arguments = _parser().parse_args(argv)
    try:
        where = conditions(arguments.where)
        if not CATALOGUE.is_dir():
            raise FusionConfigurationError(f"There is no catalogue at {CATALOGUE.absolute()}; run the graph.")
        params = load_params("fusion_search", SearchParams)
        torch.set_num_threads(params.threads)
        model = open_model(MODELS, params.network, params.encode, CACHE / "vectors.sqlite", params.threads)
        hits = search(model, arguments.text, arguments.k, where)
    except Exception as error:
        message, code = explain(error)
        print(f"error: {message}", file=sys.stderr)
        return code
    print_hits(hits, arguments.json)
    return 0
