"""OPAL: a listing from a photo, obeying the category's schema (arXiv 2508.10116).

Problem: sellers write listings with gaps and errors, and a model taught by them repeats both.

Solution: listings are cleaned by judges that keep, normalise or drop (``refine``), a vision-language model is
tuned on them (``sft``), taught by preferences not to invent (``preferences``, ``dpo``), and measured beside a
copy of the nearest neighbour's listing (``listing_eval``).

Run it with ``vitrine run opal``, or from Python::

    from pathlib import Path
    from flows.opal import opal

    opal(Path("."))

Which stages that means is said by ``meta.system: opal`` in dvc.yaml; a stage whose inputs have not changed
is cached. Method, choices and figures: docs/systems/opal.md.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from flows.running import Request, run


def opal(root: Path, profile: str | None = None) -> None:
    """Bring OPAL's targets and all they are computed from up to date.

    Raises:
        VitrineError: of the stage that failed, or of the set-up; see ``flows.running.run``.
    """
    run(root, Request(system="opal", profile=profile), Console())
