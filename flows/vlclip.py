"""VL-CLIP: one vector per product, from the grounded picture and the clarified text (arXiv 2507.17080).

Problem: a shop's picture shows more than the product, and a seller's text says less, or more, than
the truth. A model trained on such pairs learns the clutter and the noise.

Solution: the encoder says where the product is (``ground``), a text agent writes what record and picture
both support (``clarify``), and the encoder is trained on, once on the raw pairs and once on crops and
clarified texts, so that ``vlclip_eval`` can say what the two steps are worth.

Run it with ``vitrine run vlclip``, or from Python::

    from pathlib import Path
    from flows.vlclip import vlclip

    vlclip(Path("."))

Which stages that means is said by ``meta.system: vlclip`` in dvc.yaml; a stage whose inputs have not changed
is cached. Method, choices and figures: docs/systems/vlclip.md.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from flows.running import Request, run


def vlclip(root: Path, profile: str | None = None) -> None:
    """Bring VL-CLIP's targets and all they are computed from up to date.

    Raises:
        VitrineError: of the stage that failed, or of the set-up; see ``flows.running.run``.
    """
    run(root, Request(system="vlclip", profile=profile), Console())
