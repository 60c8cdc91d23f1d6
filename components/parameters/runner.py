"""Parameters of the flow itself: block ``runner`` of params.yaml."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import BaseModel, PositiveFloat, PositiveInt, model_validator

from components.stage.params import Params


class GpuParams(Params):
    """Where stages with ``meta.pool: gpu`` run; with both names null they run here."""

    # Prefect work pool whose workers stand on GPU machines
    work_pool: str | None = None
    # "flow/deployment" on that pool, as `prefect deploy` of prefect.yaml names it: gpu-stage/gpu
    deployment: str | None = None
    # Longest time one stage may take on the runner, from submission to the end, in seconds
    timeout_s: PositiveFloat = 86400.0
    # Longest time without any live worker in the pool before the run is called off, in seconds
    worker_timeout_s: PositiveFloat = 300.0

    @model_validator(mode="after")
    def _both_or_neither(self) -> GpuParams:
        if (self.work_pool is None) != (self.deployment is None):
            raise ValueError(
                "work_pool and deployment must both be set (a GPU runner) or both be null (run here)"
            )
        return self


class RunnerParams(Params):
    """Block ``runner``: where stages run, and how many beside each other."""

    # Stages that do not need each other run at the same time, each on as many cores as its block says
    # (`threads`, `workers`), up to this many: 1 where they share one accelerator
    stages_at_once: PositiveInt = 2
    gpu: GpuParams = GpuParams()


WIDTHS = ("threads", "workers")  # what a block of params.yaml calls the cores its stage computes with


def cores_wanted(stage: str, reads: Iterable[str], blocks: Mapping[str, BaseModel]) -> int:
    """Cores a stage computes with: what its own block says, else the most of the blocks it reads.

    A stage's own block is the one with its name. Where no block says anything it is one.
    """
    own = stage.partition("@")[0]
    names = [own] if _width(blocks.get(own)) else reads
    return max([1, *(_width(blocks.get(name)) for name in names)])


def _width(block: BaseModel | None) -> int:
    """What a block says; 0 for nothing."""
    found = (getattr(block, name, None) for name in WIDTHS)
    return max([0, *(value for value in found if isinstance(value, int))])
