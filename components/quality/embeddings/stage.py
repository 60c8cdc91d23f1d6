"""Stage ``embeddings_quality``: refuse vectors that are broken, misplaced or collapsed."""

from __future__ import annotations

from components.quality.params import QualityParams
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.record import Record


class EmbeddingsQuality(Params):
    """Parameters of the stage."""

    quality: QualityParams = QualityParams()


def run(params: EmbeddingsQuality, paths: Paths, record: Record) -> None:
    """Write the gate's page and summary.

    Raises:
        GateError: the data did not pass, or could not be checked.
    """
    from components.quality.embeddings.gate import check_embeddings
    from components.quality.reports import conclude

    with record.timed("check"):
        verdict = check_embeddings(paths.embeddings, paths.catalogue, params.quality)
    conclude(verdict, paths.quality / "embeddings", record, params.quality.page_examples)
