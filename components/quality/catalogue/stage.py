"""Stage ``catalog_quality``: let through the rows that keep the contract; quarantine the others, or stop."""

from __future__ import annotations

from components.quality.params import QualityParams
from components.stage.files.publish import published
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.record import Record


class CatalogueQuality(Params):
    """Parameters of the stage."""

    quality: QualityParams = QualityParams()


def run(params: CatalogueQuality, paths: Paths, record: Record) -> None:
    """Write the checked catalogue, the quarantine, and the gate's page and summary.

    Raises:
        GateError: too much is bad, what is left breaks the contract, or it cannot be checked.
    """
    from components.quality.catalogue.checked import write_checked
    from components.quality.catalogue.gate import check_catalogue
    from components.quality.reports import measure, publish_reports, refuse
    from components.quality.verdict import write_quarantine

    examples = params.quality.page_examples
    quarantine = paths.quarantine / "quarantine.parquet"
    with record.timed("check"):
        verdict = check_catalogue(paths.imported, params.quality)
    measure(record, verdict)
    if not verdict.passed:
        refuse(verdict, record.stage, examples)
    with record.timed("write"):
        with published(paths.catalogue) as folder:
            write_checked(paths.imported, folder, verdict, params.quality)
        with published(quarantine) as file:
            write_quarantine(file, verdict.bad)
        reports = publish_reports(verdict, paths.quality / "catalog", examples)
    record.outputs = [paths.catalogue.as_posix(), quarantine.as_posix(), *reports]
