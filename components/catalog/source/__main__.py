"""Bring a source into the workspace: ``python -m components.catalog.source --source ... --mapping ...``."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from components.stage.errors import VitrineError
from components.stage.frame import explain
from components.stage.paths import Paths
from components.stage.printable import printable


def main(argv: Sequence[str]) -> int:
    """Bring a source into the workspace; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m components.catalog.source", description=main.__doc__)
    parser.add_argument("--source", type=Path, required=True, help="folder with the source's files")
    parser.add_argument("--mapping", type=Path, required=True, help="mapping file (docs/your-catalogue.md)")
    parser.add_argument("--into", type=Path, default=Paths().source, help="source folder of the workspace")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--copy", action="store_true", help="copy the files (the default)")
    how.add_argument(
        "--link", action="store_true", help="hard-link them; the originals must stay as they are"
    )
    arguments = parser.parse_args(argv)
    try:
        from components.catalog.source.manifest import import_source
        from components.catalog.source.mapping import read_mapping

        found = import_source(
            arguments.source, read_mapping(arguments.mapping), arguments.into, link=arguments.link
        )
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        sentence, code = explain(error)
        if not isinstance(error, VitrineError | OSError):
            traceback.print_exc()
        print(f"error: {sentence}", file=sys.stderr)
        return code
    print(f"{found.rows:,} rows, {found.products:,} with a picture, now in {arguments.into}.")
    for warning in found.warnings():
        print(printable(warning if warning.startswith(" ") else f"warning: {warning}"), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
