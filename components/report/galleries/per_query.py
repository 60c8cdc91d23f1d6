"""Per-query results: rows of ``results/per_query/<name>.parquet``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.report.errors import ReportInputError


def read_results(path: Path, columns: list[str]) -> list[dict[str, Any]]:
    """All rows with all their columns; ``columns`` must be among them.

    Raises:
        ReportInputError: the file is missing or unreadable, or lacks a column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            held = file.schema_arrow.names
            rows: list[dict[str, Any]] = file.read().to_pylist()
    except FileNotFoundError:
        raise ReportInputError(f"{path} does not exist; run the evaluation that makes it.") from None
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:200]
        raise ReportInputError(f"{path} is not a readable Parquet file: {reason}.") from None
    if missing := [name for name in columns if name not in held]:
        raise ReportInputError(f"{path} has no column {', '.join(missing)} (it has {', '.join(held)}).")
    return rows
