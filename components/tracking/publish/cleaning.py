"""Delete what is not needed any more under ``.vitrine/``: old published records, marks without a record."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from components.tracking.publish import pending as waiting
from components.tracking.store import store_of

DAY_S = 86_400.0


@dataclass
class Cleaned:
    """Counts of removed files."""

    records: int = 0
    orphans: int = 0


def clean(root: Path, older_than_days: float) -> Cleaned:
    """Remove published records older than so many days with their marks, and orphaned marks.

    A record that is not published is never removed, however old.
    """
    root, cleaned = root.resolve(), Cleaned()
    store, limit = store_of(root), time.time() - older_than_days * DAY_S
    keep = {path.name for path in waiting.unpublished(root, store)}
    for path in waiting.record_files(root):
        if path.name not in keep and path.stat().st_mtime < limit:
            path.unlink()
            cleaned.records += 1
    state, left = waiting.state(root), {path.name for path in waiting.record_files(root)}
    for path in [*(state / "published").glob("*/*.json"), *(state / "joined").glob("*.json")]:
        if path.name not in left:
            path.unlink()
            cleaned.orphans += 1
    for path in (state / "pipelines").glob("*.json"):
        if path.stat().st_mtime < limit:
            path.unlink()
            cleaned.orphans += 1
    return cleaned
