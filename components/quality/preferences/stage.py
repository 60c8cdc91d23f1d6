"""Stage ``preferences_quality``: refuse preference pairs that teach nothing, or the wrong thing."""

from __future__ import annotations

from components.quality.params import ListingQualityParams
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.record import Record


class PreferencesQuality(Params):
    """Parameters of the stage."""

    listing_quality: ListingQualityParams = ListingQualityParams()


def run(params: PreferencesQuality, paths: Paths, record: Record) -> None:
    """Write the gate's page and summary.

    Raises:
        GateError: the data did not pass, or could not be checked.
    """
    from components.quality.preferences.gate import check_preferences
    from components.quality.reports import conclude

    with record.timed("check"):
        verdict = check_preferences(
            paths.preferences / "pairs.parquet", paths.catalogue, params.listing_quality
        )
    conclude(verdict, paths.quality / "preferences", record, params.listing_quality.page_examples)
