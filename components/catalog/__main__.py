"""The door of the catalogue: ``build`` is a stage of the graph, ``import`` brings a source in."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from components.stage import frame as door
from components.stage.errors import VitrineError
from components.stage.params import load_params
from components.stage.publish import published
from components.stage.record import Record

SOURCE = Path("data/source")
CATALOGUE = Path("data/catalog")
TRUTH = Path("data/truth/truth.parquet")


def build(record: Record) -> None:
    """``data/source`` → ``data/catalog/``, ``data/truth/truth.parquet``."""
    from components.catalog.build.build import build as build_catalogue
    from components.catalog.build.build import opened
    from components.catalog.build.params import CatalogParams
    from components.catalog.source.manifest import read_source

    params = load_params("catalog", CatalogParams)
    record.parameters = params.model_dump(mode="json")
    manifest = read_source(SOURCE)
    start = time.perf_counter()
    with published(CATALOGUE) as target, published(TRUTH) as truth:
        target.mkdir()
        with opened(manifest, SOURCE, params, target / ".work") as (source, expected):
            built = build_catalogue(source, expected, params, target, truth)
    seconds = time.perf_counter() - start
    counts = built._asdict()
    record.metrics = {f"noise.{kind}": float(n) for kind, n in counts.pop("noise").items()}
    record.metrics |= {name: float(value) for name, value in counts.items()}
    record.metrics["products_per_s"] = built.products / seconds
    record.outputs = [str(CATALOGUE), str(TRUTH)]


def import_command(argv: Sequence[str]) -> int:
    """Bring a source into the workspace; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m components.catalog import", description=import_command.__doc__
    )
    parser.add_argument("--source", type=Path, required=True, help="folder with the source's files")
    parser.add_argument("--mapping", type=Path, required=True, help="mapping file (docs/your-catalogue.md)")
    parser.add_argument("--into", type=Path, default=SOURCE, help="source folder of the workspace")
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
        sentence, code = door.explain(error)
        if not isinstance(error, VitrineError | OSError):
            traceback.print_exc()
        print(f"error: {sentence}", file=sys.stderr)
        return code
    print(f"{found.rows:,} rows, {found.images:,} with a picture, now in {arguments.into}.")
    if bad := found.rejected + found.missing_images:
        print(
            f"warning: {bad:,} of them cannot become products ({found.rejected:,} lack a field, "
            f"{found.missing_images:,} lack their picture); they will be listed in quarantine.",
            file=sys.stderr,
        )
    return 0


def main(argv: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    if argv and argv[0] == "import":
        return import_command(argv[1:])
    return door.run("catalog", {"build": build}, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
