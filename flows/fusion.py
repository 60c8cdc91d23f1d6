"""Fusion retrieval: products ranked by text and picture together (Beyond Text, arXiv 2603.04836).

Problem: some queries are answered by a product's words, some only by its picture, and many products
lack one of the two.

Solution: the query tower is aligned with product texts, then with product pictures (``align_text``,
``align_image``); a mixture of experts in the item tower makes one vector of both (``fuse``); ``fusion_eval``
sets it beside BM25, each tower alone, and simpler ways to combine them.

Run it with ``vitrine run fusion``, or from Python::

    from pathlib import Path
    from flows.fusion import fusion

    fusion(Path("."))

Which stages that means is said by ``meta.system: fusion`` in dvc.yaml; a stage whose inputs have not changed
is cached. Method, choices and figures: docs/systems/fusion.md.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from flows.running import Request, run


def fusion(root: Path, profile: str | None = None) -> None:
    """Bring fusion retrieval's targets and all they are computed from up to date.

    Raises:
        VitrineError: of the stage that failed, or of the set-up; see ``flows.running.run``.
    """
    run(root, Request(system="fusion", profile=profile), Console())
