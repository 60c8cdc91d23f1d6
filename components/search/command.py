"""``search`` on the command line, by a network and its gate: a table for people, JSON for programs."""

from __future__ import annotations

import argparse
import logging
import sys

from components.fusion.model.errors import FusionConfigurationError
from components.fusion.model.params import SearchParams
from components.retrieval.hits import conditions, print_hits
from components.search.search import open_model, search
from components.stage.frame import explain
from components.stage.params import load_params
from components.stage.paths import Paths


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m components.search")
    parser.add_argument("text")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--where", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--json", action="store_true")
    return parser


def main(argv: list[str]) -> int:
    """Run the command behind ``search``; returns the exit code."""
    import torch

    arguments, paths = _parser().parse_args(argv), Paths()
    logging.disable(logging.INFO)  # libraries that tell of their own steps
    try:
        where = conditions(arguments.where)
        if not paths.catalogue.is_dir():
            raise FusionConfigurationError(
                f"There is no catalogue at {paths.catalogue.absolute()}; run the graph."
            )
        params = load_params("fusion_search", SearchParams)
        torch.set_num_threads(params.threads)
        model = open_model(paths.fusion, params.network, params.encode, paths.cache, params.threads)
        found = search(model, arguments.text, arguments.k, where, paths.catalogue)
    except Exception as error:
        message, code = explain(error)
        print(f"error: {message}", file=sys.stderr)
        return code
    print_hits(found.hits, arguments.json, found.ranked_by)
    return 0
