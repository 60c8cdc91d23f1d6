"""One more seed of everything in OPAL that is trained or drawn: refinement, tunings, pairs, preferences."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from components.llm.params import LLMParams
from components.opal.model.errors import ListingConfigurationError
from components.opal.model.params import DpoParams, ListingParams, PreferencesParams, SftParams
from components.opal.refine.params import RefineParams
from components.stage.record import Record


@dataclass(frozen=True)
class Blocks:
    """The parameters of the stages that a seed repeats."""

    refine: RefineParams
    llm: LLMParams
    listing: ListingParams
    sft: SftParams
    preferences: PreferencesParams
    dpo: DpoParams

    def seeded(self, seed: int) -> Blocks:
        """The same with one seed for all."""
        new = {"seed": seed}
        return Blocks(
            self.refine.model_copy(update=new),
            self.llm,
            self.listing.model_copy(update=new),
            self.sft.model_copy(update=new),
            self.preferences.model_copy(update=new),
            self.dpo.model_copy(update=new),
        )


@dataclass(frozen=True)
class Places:
    """What a seed is made from, and where it goes: ``data`` and ``models`` are folders of one seed."""

    catalogue: Path
    encoder: Path
    embeddings: Path
    cache: Path
    data: Path
    models: Path
    plots: Path

    @property
    def refined(self) -> Path:
        """The seed's refined listings."""
        return self.data / "refined"

    @property
    def preferences(self) -> Path:
        """The seed's preference pairs."""
        return self.data / "preferences"


def seed_of(text: str) -> int:
    """A seed as it stands on the command line.

    Raises:
        ListingConfigurationError: it is no number.
    """
    if not text.isdecimal():
        raise ListingConfigurationError(f"{text[:40]!r} is no seed; use a whole number such as 43.")
    return int(text)


def repeat_with_seed(blocks: Blocks, places: Places, record: Record) -> None:
    """Refine, tune both variants, make pairs and prefer, as the graph does, with the seeds of ``blocks``.

    The gates stand between these stages in the graph; here the same code makes the same kind of data.
    """
    _refine(blocks, places, record)
    for variant in ("raw", "refined"):
        _tune(variant, blocks, places, record)
    _prefer(blocks, places, record)
    record.outputs = [str(places.data), str(places.models), str(places.plots)]


def _part(record: Record, name: str) -> Record:
    return Record(stage=f"{record.stage}.{name}")


def _keep(record: Record, name: str, part: Record) -> None:
    for step, seconds in part.timings.items():
        record.timing(f"{name}.{step}", seconds)
    record.metrics |= {f"{name}.{metric}": value for metric, value in part.metrics.items()}


def _refine(blocks: Blocks, places: Places, record: Record) -> None:
    from components.opal.refine.stage import refine_and_publish

    part, inputs = _part(record, "refine"), (places.catalogue, places.encoder, places.embeddings)
    refine_and_publish(blocks.refine, blocks.llm, *inputs, places.refined, part)
    _keep(record, "refine", part)


def _tune(variant: str, blocks: Blocks, places: Places, record: Record) -> None:
    """One variant's tuning with the seed."""
    from components.opal.model.train.sft_stage import sft_and_publish

    name = f"sft_{variant}"
    part, inputs = _part(record, name), (places.catalogue, places.refined, places.encoder)
    out, curves = places.models / name, places.plots / f"{name}.csv"
    sft_and_publish(variant, blocks.listing, blocks.sft, *inputs, out, curves, places.cache, part)
    _keep(record, name, part)


def _prefer(blocks: Blocks, places: Places, record: Record) -> None:
    """Pairs and preference optimisation with the seed."""
    from components.opal.model.preferences.stage import make_and_publish
    from components.opal.model.train.dpo_stage import dpo_and_publish

    tuned, pairs = places.models / "sft_refined", places.preferences
    part, inputs = _part(record, "preferences"), (places.catalogue, places.refined, places.embeddings)
    make_and_publish(blocks.preferences, *inputs, tuned, pairs, places.cache, part)
    _keep(record, "preferences", part)
    part, out, curves = _part(record, "dpo"), places.models / "dpo", places.plots / "dpo.csv"
    shared = (places.catalogue, pairs, tuned, out, curves, places.cache)
    dpo_and_publish(blocks.listing, blocks.dpo, *shared, part)
    _keep(record, "dpo", part)
