"""``search`` and ``similar`` on the command line: a table for people, JSON for programs."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from components.encoder.errors import EncoderConfigurationError
from components.encoder.search import Hit, search, similar
from components.stage.door import explain


def _conditions(pairs: list[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or not name or not value:
            raise EncoderConfigurationError(f"--where takes name=value, such as colour=red, not '{pair}'.")
        found[name.strip()] = value.strip()
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vitrine")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (("search", "text"), ("similar", "product_id")):
        command = commands.add_parser(name)
        command.add_argument(what, **({"nargs": "?", "default": ""} if what == "text" else {}))  # type: ignore[arg-type]
        command.add_argument("--k", type=int, default=10)
        command.add_argument("--where", action="append", default=[])
        command.add_argument("--json", action="store_true")
        if name == "search":
            command.add_argument("--image", type=Path)
    return parser


def show(hits: list[Hit]) -> None:
    """A table on the terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table("", "score", "product", "type", "title", "attributes")
    for hit in hits:
        attributes = ", ".join(f"{k}: {v}" for k, v in hit.attributes.items())
        table.add_row(
            str(hit.rank), f"{hit.score:.3f}", hit.product_id, hit.product_type, hit.title, attributes
        )
    Console().print(table if hits else "Nothing found: no product fulfils every --where.")


def main(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        where = _conditions(arguments.where)
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
    if arguments.json:
        print(json.dumps([asdict(h) for h in hits], indent=1))
    else:
        show(hits)
    return 0
