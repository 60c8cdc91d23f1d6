"""Stage ``catalog``: ``data/source`` and what it names become ``data/catalog``; the truth lies apart."""

from __future__ import annotations

import time

from components.catalog.build.params import CatalogParams
from components.stage.files.publish import published
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.record import Record


class CatalogStage(Params):
    """Parameters of the stage."""

    catalog: CatalogParams = CatalogParams()


def run(params: CatalogStage, paths: Paths, record: Record) -> None:
    """Write the catalogue and its truth.

    Raises:
        ConfigurationError: the manifest of the source, or its mapping, does not fit.
        SourceError: the source cannot be read, or gives no product.
    """
    from components.catalog.build.catalogue import write_catalogue
    from components.catalog.build.opened_source import opened
    from components.catalog.source.manifest import read_source

    manifest = read_source(paths.source)
    truth_file = paths.truth / "truth.parquet"
    start = time.perf_counter()
    with published(paths.imported) as target, published(truth_file) as truth:
        target.mkdir()
        with opened(manifest, paths.source, params.catalog, target / ".work") as source:
            record.metrics = write_catalogue(source, params.catalog, target, truth)
    record.metrics["products_per_s"] = record.metrics["products"] / (time.perf_counter() - start)
    record.outputs = [str(paths.imported), str(truth_file)]
