"""The encoder, from a catalogue to a working search.

Problem: everything that Vitrine builds stands on one dual encoder. A picture and a text about it must come
to lie close together, on *this* shop's products; and we must know how well, before anything else is built
on it.

Solution: the catalogue is built and checked, the encoder is trained on what passed, compared with an
untrained one and with a colour histogram on held-out queries, and its product vectors become an index that
answers ``vitrine search`` and ``vitrine similar``.

Run it with ``vitrine run encoder``, or from Python::

    from pathlib import Path
    from flows.encoder import encoder

    encoder(Path("."))

Which stages that means is said by ``meta.system: encoder`` in dvc.yaml; a stage whose inputs have not changed
is cached.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from flows.running import Request, run


def encoder(root: Path, profile: str | None = None) -> None:
    """Bring the encoder's targets and all they are computed from up to date.

    Raises:
        VitrineError: of the stage that failed, or of the set-up; see ``flows.running.run``.
    """
    run(root, Request(system="encoder", profile=profile), Console())
