"""bfloat16 is computed in where a machine has products of it; elsewhere it would take many times as long."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from components.stage.record import environment
from components.stage.resources import accelerator
from components.stage.resources.accelerator import autocast, computed_in, multiplies_bf16

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    multiplies_bf16.cache_clear()
    yield
    multiplies_bf16.cache_clear()


@pytest.mark.parametrize(("kernels", "used"), [(True, "bf16"), (False, "fp32")])
def test_what_is_asked_for_is_computed_in_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, kernels: bool, used: str
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: kernels)
    assert computed_in("bf16", CPU) == used
    assert computed_in("fp32", CPU) == "fp32"
    with autocast(CPU, "bf16"):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == {"bf16": torch.bfloat16, "fp32": torch.float32}[used]
    assert environment()["bf16"] == f"{accelerator.device().type}, computed in {used}"


def test_an_accelerator_that_only_emulates_it_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert computed_in("bf16", torch.device("cuda")) == "fp32"
