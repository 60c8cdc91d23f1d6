"""``python -m components.encoder.search search|similar``: a table for people, JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from components.encoder.model.errors import EncoderConfigurationError
from components.encoder.search.conditions import conditions
from components.encoder.search.search import search, similar
from components.retrieval.hits import print_hits
from components.stage.arguments import Parser, composed
from components.stage.frame import explain


def _parser() -> Parser:
    parser = Parser(prog="python -m components.encoder.search")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (("search", "text"), ("similar", "product_id")):
        command = commands.add_parser(name)
        optional = {"nargs": "?", "default": ""} if what == "text" else {}
        command.add_argument(what, type=composed, **optional)  # type: ignore[arg-type]
        command.add_argument("--k", type=int, default=10)
        command.add_argument("--where", action="append", default=[])
        command.add_argument("--json", action="store_true")
        if name == "search":
            command.add_argument("--image", type=Path)
    return parser


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        where = conditions(arguments.where)
        if arguments.k < 1:
            raise EncoderConfigurationError("--k must be at least 1.")
        if arguments.command == "search":
            hits = search(arguments.text, arguments.image, arguments.k, where)
        else:
            hits = similar(arguments.product_id, arguments.k, where)
    except Exception as error:
        message, code = explain(error)
        print(f"error: {message}", file=sys.stderr)
        return code
    print_hits(hits, arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
