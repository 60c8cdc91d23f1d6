"""Bring a source into the workspace: ``python -m components.catalog.source --source ... --mapping ...``."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.catalog.format.schema import read_schema
from components.stage.arguments import Parser
from components.stage.errors import ConfigurationError, VitrineError
from components.stage.files.printable import printable
from components.stage.files.publish import write_text
from components.stage.frame import explain
from components.stage.params import parameters_file, read_yaml, validate
from components.stage.paths import Paths

MOST_TOLD = 20  # fields that are not mapped


def main(argv: Sequence[str]) -> int:
    """Bring a source into the workspace; returns the exit code."""
    parser = Parser(prog="python -m components.catalog.source", description=main.__doc__)
    parser.add_argument("--source", type=Path, required=True, help="folder with the source's files")
    parser.add_argument("--mapping", type=Path, required=True, help="mapping file (docs/mapping.md)")
    parser.add_argument("--into", type=Path, default=Paths().source, help="source folder of the workspace")
    parser.add_argument(
        "--inspect", type=Path, metavar="PROFILE.yaml", help="only write a mapping file and a profile to edit"
    )
    parser.add_argument("--force", action="store_true", help="with --inspect: replace both where they exist")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--copy", action="store_true", help="copy the files (the default)")
    how.add_argument(
        "--link", action="store_true", help="hard-link them; the originals must stay as they are"
    )
    arguments = parser.parse_args(argv)
    try:
        if arguments.inspect:
            _inspect(arguments.source, arguments.mapping, arguments.inspect, arguments.force)
        else:
            _import(arguments)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        sentence, code = explain(error)
        if not isinstance(error, VitrineError | OSError):
            traceback.print_exc()
        print(f"error: {sentence}", file=sys.stderr)
        return code
    return 0


def _inspect(source: Path, mapping: Path, profile: Path, force: bool) -> None:
    from components.catalog.source.inspection.starter import inspect

    for path in (mapping, profile):
        if path.exists() and not force:
            raise ConfigurationError(
                f"{path} exists already; --force inspects again and replaces what was changed in it, "
                "another --profile keeps it."
            )
    start = inspect(source, profile.stem)
    write_text(mapping, start.mapping)
    write_text(profile, start.profile)
    for number, (field, why) in enumerate(start.unmapped.items()):
        if number == MOST_TOLD:
            print(f"  and {len(start.unmapped) - number:,} others, at the end of {mapping}")
            break
        print(printable(f"{'not mapped:' if not number else '           '} {field} ({why})"))
    print(f"{mapping} and {profile} are written; read and correct them.")


def _block(parameters: dict[str, Any], name: str) -> dict[str, Any]:
    """A block of parameters; empty where there is none."""
    found = parameters.get(name)
    return found if isinstance(found, dict) else {}


def _import(arguments: argparse.Namespace) -> None:
    from components.catalog.source.advice import advice
    from components.catalog.source.manifest import import_source
    from components.catalog.source.mapping import read_mapping
    from components.catalog.source.params import SourceParams
    from components.stage.attribute_names import unknown_attributes

    mapping = read_mapping(arguments.mapping)
    parameters = read_yaml(parameters_file()) if parameters_file().exists() else {}
    own = {n: value for n, value in _block(parameters, "catalog").items() if n in SourceParams.model_fields}
    params = validate(SourceParams, own, f"{parameters_file()}.catalog")
    found = import_source(arguments.source, mapping, arguments.into, link=arguments.link, params=params)
    more = f" and {found.more_pictures:,} further ones" if found.more_pictures else ""
    print(f"{found.rows:,} rows, {found.products:,} with a picture{more}, now in {arguments.into}.")
    own_schema, known = None, found.observed.names()
    if mapping.schema_file:
        own_schema = read_schema(arguments.source / mapping.schema_file)
        known = {name for category in own_schema.categories.values() for name in category.attributes}
    asked = int(_block(parameters, "quality").get("min_products", 0))
    told = (*advice(found.observed, asked, own_schema), *unknown_attributes(parameters, known))
    for warning in (*found.warnings(), *told):
        print(printable(warning if warning.startswith(" ") else f"warning: {warning}"), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
