"""Where the files of a workspace are, relative to its root: one name for each folder, for every stage."""

from __future__ import annotations

from pathlib import Path

from components.stage.params import Params


class Paths(Params):
    """What stages read and write. A study names other folders: ``paths.vlclip=models/study/vlclip``."""

    # Data, in the order in which it is made
    source: Path = Path("data/source")  # what was imported, with its manifest
    shop: Path = Path("data/shop")  # the synthetic shop, with its truth; read by `catalog` alone
    imported: Path = Path("data/catalog")  # the catalogue before its gate
    catalogue: Path = Path("data/checked")  # the catalogue that passed
    quarantine: Path = Path("data/quarantine")
    truth: Path = Path("data/truth")  # for evaluation only
    embeddings: Path = Path("data/embeddings")
    grounding: Path = Path("data/grounding")
    clarified: Path = Path("data/clarified")
    refined: Path = Path("data/refined")
    preferences: Path = Path("data/preferences")

    # Models; a system with several has a folder for each in its own
    encoder: Path = Path("models/encoder")
    index: Path = Path("models/index")
    grounder: Path = Path("models/grounder")
    vlclip: Path = Path("models/vlclip")
    fusion: Path = Path("models/fusion")
    listing: Path = Path("models/listing")

    # What is measured and shown
    metrics: Path = Path("metrics")
    per_query: Path = Path("results/per_query")
    plots: Path = Path("plots")
    quality: Path = Path("reports/quality")
    report: Path = Path("reports/index.html")

    # Not part of the graph: saves time, never changes a result
    cache: Path = Path(".vitrine/cache")

    @classmethod
    def below(cls, root: Path) -> Paths:
        """The same places in the workspace at ``root``."""
        return cls(**{name: root / field.default for name, field in cls.model_fields.items()})
