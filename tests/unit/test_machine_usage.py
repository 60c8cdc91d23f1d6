"""How busy the machine was, in a stage's record; and the sample of products that stands for all."""

from __future__ import annotations

import sys
import time
from types import SimpleNamespace

import pytest

from components.stage.record import Record
from components.stage.resources.usage import MOST_SAMPLES, usage_of_machine
from components.stage.sample import sampled

OF_MACHINE = {"cpu_utilization_percentage", "system_memory_usage_megabytes", "system_memory_usage_percentage"}


def test_a_stage_too_short_for_a_sample_has_one_all_the_same() -> None:
    record = Record(stage="x")
    with usage_of_machine(record, every_s=60):
        pass
    assert set(record.system) >= OF_MACHINE
    assert all(len(points) == 1 for points in record.system.values())
    assert 0 < record.system["system_memory_usage_percentage"][0]["value"] <= 100
    assert Record.model_validate_json(record.model_dump_json()).system == record.system


def test_a_long_stage_has_a_bounded_number_of_samples_over_all_of_it() -> None:
    record = Record(stage="x")
    with usage_of_machine(record, every_s=0.001):
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            sum(range(1000))
    for points in record.system.values():
        seconds = [point["seconds"] for point in points]
        assert MOST_SAMPLES / 4 < len(points) <= MOST_SAMPLES + 1 and seconds == sorted(seconds)
        assert seconds[0] < 0.1 and seconds[-1] > 0.4
    assert max(p["value"] for p in record.system["process_cpu_percentage"]) > 20


def test_what_the_work_raises_is_raised_and_the_samples_stay() -> None:
    record = Record(stage="x")
    with pytest.raises(ValueError, match="wrong"), usage_of_machine(record):
        raise ValueError("wrong")
    assert record.system


def test_an_accelerator_tells_its_memory_where_its_load_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden(_: object) -> None:
        raise RuntimeError

    nvml = SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda number: number,
        nvmlDeviceGetMemoryInfo=lambda number: SimpleNamespace(used=(number + 1) * 1e9, total=8e9),
        nvmlDeviceGetUtilizationRates=hidden,
        nvmlDeviceGetPowerUsage=lambda _: 250_000,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    record = Record(stage="x")
    with usage_of_machine(record, every_s=60):
        pass
    assert record.system["gpu_1_memory_usage_megabytes"][0]["value"] == 2000
    assert record.system["gpu_0_power_usage_watts"][0]["value"] == 250
    assert set(record.system) >= OF_MACHINE and "gpu_0_utilization_percentage" not in record.system


def test_a_sample_does_not_depend_on_order_or_on_other_products() -> None:
    products = [f"P{i:04}" for i in range(100)]
    chosen = sampled(products, 10)
    assert chosen == sampled(reversed(products), 10) and len(set(chosen)) == 10
    assert chosen != products[:10]
    left = sampled([p for p in products if p != chosen[0]], 10)
    assert left[:9] == chosen[1:]
