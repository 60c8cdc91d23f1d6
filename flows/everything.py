"""Everything: every stage of dvc.yaml, in the order of the graph, ending in the report.

Run it with ``vitrine run`` (or ``vitrine run all``), or from Python::

    from pathlib import Path
    from flows.everything import everything

    everything(Path("."))
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from flows.running import Request, run


def everything(root: Path, profile: str | None = None) -> None:
    """Bring the whole graph up to date.

    Raises:
        VitrineError: of the stage that failed, or of the set-up; see ``flows.running.run``.
    """
    run(root, Request(system="all", profile=profile), Console())
