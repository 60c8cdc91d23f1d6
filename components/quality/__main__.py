"""Door of quality: ``python -m components.quality catalog|embeddings|refined|preferences``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from components.quality.params import QualityParams
from components.stage import frame as door
from components.stage.params import load_params
from components.stage.publish import published, write_text
from components.stage.record import STATE, Record

if TYPE_CHECKING:
    from components.quality.verdict import Verdict

CATALOGUE = Path("data/catalog")
CHECKED = Path("data/checked")
EMBEDDINGS = Path("data/embeddings")
REFINED = Path("data/refined")
PREFERENCES = Path("data/preferences/pairs.parquet")
QUARANTINE = Path("data/quarantine/quarantine.parquet")
REPORTS = Path("reports/quality")


def _refuse(verdict: Verdict, stage: str, page_examples: int) -> None:
    """Leave page, summary and quarantine beside the graph, where no later stage can take them for outputs.

    Raises:
        GateError: always; its sentence says what failed and where to read on.
    """
    from components.quality.errors import GateError
    from components.quality.page import validation_page
    from components.quality.verdict import write_quarantine

    folder = STATE / "quality" / stage
    write_text(folder / "page.html", validation_page(verdict, page_examples))
    write_text(folder / "summary.json", json.dumps(verdict.summary(), indent=1, sort_keys=True) + "\n")
    with published(folder / "quarantine.parquet") as file:
        write_quarantine(file, verdict.bad)
    failures = verdict.failures()
    more = f" (and {len(failures) - 2} more failures)" if len(failures) > 2 else ""
    raise GateError(
        f"{verdict.title} did not pass: {'; '.join(failure.rstrip('.') for failure in failures[:2])}{more}; "
        f"see {folder}/page.html and {folder}/quarantine.parquet."
    )


def _publish_reports(verdict: Verdict, name: str, page_examples: int) -> list[str]:
    from components.quality.page import validation_page

    page, summary = REPORTS / f"{name}.html", REPORTS / f"{name}.json"
    write_text(page, validation_page(verdict, page_examples))
    write_text(summary, json.dumps(verdict.summary(), indent=1, sort_keys=True) + "\n")
    return [page.as_posix(), summary.as_posix()]


def _measure(record: Record, verdict: Verdict) -> None:
    for kind, rows in verdict.rows.items():
        record.metrics[f"{kind}.rows"] = float(rows)
        record.metrics[f"{kind}.quarantined"] = float(len(verdict.bad_rows(kind)))


def _gate(record: Record, verdict: Verdict, name: str, page_examples: int) -> None:
    """Publish the reports of a gate without quarantine, or refuse."""
    _measure(record, verdict)
    if not verdict.passed:
        _refuse(verdict, record.stage, page_examples)
    record.outputs = _publish_reports(verdict, name, page_examples)


def catalog(record: Record) -> None:
    """Stage ``catalog_quality``: data/catalog -> data/checked, the quarantine and the validation page."""
    params = load_params("quality", QualityParams)
    record.parameters = params.model_dump()
    from components.quality.catalogue.checked import write_checked
    from components.quality.catalogue.gate import check_catalogue
    from components.quality.verdict import write_quarantine

    with record.timed("check"):
        verdict = check_catalogue(CATALOGUE, params)
    _measure(record, verdict)
    if not verdict.passed:
        _refuse(verdict, record.stage, params.page_examples)
    with record.timed("write"):
        with published(CHECKED) as folder:
            write_checked(CATALOGUE, folder, verdict)
        with published(QUARANTINE) as file:
            write_quarantine(file, verdict.bad)
        reports = _publish_reports(verdict, "catalog", params.page_examples)
    record.outputs = [CHECKED.as_posix(), QUARANTINE.as_posix(), *reports]


def embeddings(record: Record) -> None:
    """Stage ``embeddings_quality``: data/embeddings and data/checked -> the validation page."""
    params = load_params("quality", QualityParams)
    record.parameters = params.model_dump()
    from components.quality.embeddings.gate import check_embeddings

    with record.timed("check"):
        verdict = check_embeddings(EMBEDDINGS, CHECKED, params)
    _gate(record, verdict, "embeddings", params.page_examples)


def refined(record: Record) -> None:
    """Stage ``refined_quality``: data/refined and data/checked -> the validation page."""
    from components.quality.listings.params import ListingQualityParams

    params = load_params("listing_quality", ListingQualityParams)
    record.parameters = params.model_dump()
    from components.quality.listings.refined_gate import check_refined

    with record.timed("check"):
        verdict = check_refined(REFINED, CHECKED, params)
    _gate(record, verdict, "refined", params.page_examples)


def preferences(record: Record) -> None:
    """Stage ``preferences_quality``: the pairs and data/checked -> the validation page."""
    from components.quality.listings.params import ListingQualityParams

    params = load_params("listing_quality", ListingQualityParams)
    record.parameters = params.model_dump()
    from components.quality.listings.preferences_gate import check_preferences

    with record.timed("check"):
        verdict = check_preferences(PREFERENCES, CHECKED, params)
    _gate(record, verdict, "preferences", params.page_examples)


COMMANDS = {"catalog": catalog, "embeddings": embeddings, "refined": refined, "preferences": preferences}

if __name__ == "__main__":
    raise SystemExit(door.run("quality", COMMANDS))
