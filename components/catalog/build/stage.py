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
            built = write_catalogue(source, params.catalog, target, truth)
    seconds = time.perf_counter() - start
    counts = built._asdict()
    record.metrics = {f"noise.{kind}": float(n) for kind, n in counts.pop("noise").items()}
    record.metrics |= {f"photos.{kind}": float(n) for kind, n in counts.pop("photos").items()}
    record.metrics |= {name: float(value) for name, value in counts.items()}
    record.metrics["products_per_s"] = built.products / seconds
    record.outputs = [str(paths.imported), str(truth_file)]
