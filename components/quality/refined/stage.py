"""Stage ``refined_quality``: refuse refined listings that break the schema or say more than sellers did."""

from __future__ import annotations

from components.quality.params import ListingQualityParams
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.record import Record


class RefinedQuality(Params):
    """Parameters of the stage."""

    listing_quality: ListingQualityParams = ListingQualityParams()


def run(params: RefinedQuality, paths: Paths, record: Record) -> None:
    """Write the gate's page and summary.

    Raises:
        GateError: the data did not pass, or could not be checked.
    """
    from components.quality.refined.gate import check_refined
    from components.quality.reports import conclude

    with record.timed("check"):
        verdict = check_refined(paths.refined, paths.catalogue, params.listing_quality)
    conclude(verdict, paths.quality / "refined", record, params.listing_quality.page_examples)
