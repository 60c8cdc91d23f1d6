"""How busy the machine was while a stage ran: a few series for its record."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil

from components.stage.record import Record

EVERY_S = 1.0  # at first; each time a series is full, every second sample goes and the distance doubles
MOST_SAMPLES = 120
ANSWERS_WITHIN_S = 5.0
MEGABYTE = 1e6
Reading = dict[str, float]


@contextmanager
def usage_of_machine(record: Record, every_s: float = EVERY_S) -> Iterator[None]:
    """Sample the machine beside the work, into ``record.system``; nothing of it can stop the work.

    The names are MLflow's own, so that its page of system metrics shows them; ``process_*`` are of this
    process alone (100% is one core). The last sample is taken when the work ends.
    """
    sampler = _Sampler(every_s)
    sampler.start()
    try:
        yield
    finally:
        record.system = sampler.end()


class _Sampler(threading.Thread):
    """Reads the machine in the background until it is told to end."""

    def __init__(self, every_s: float) -> None:
        super().__init__(name="usage", daemon=True)
        self._series: dict[str, list[Reading]] = {}
        self._every_s = every_s
        self._ended, self._begun = threading.Event(), time.monotonic()
        self._read: list[Callable[[], Reading]] = []

    def run(self) -> None:
        """Sample until the end is asked for, and once more then."""
        with suppress(Exception):  # a machine that hides its state has no series
            self._read = [_machine(), *_accelerators()]
            while not self._ended.wait(self._every_s):
                self._sample()
            self._sample()

    def end(self) -> dict[str, list[Reading]]:
        """Take the last sample and stop; the series, empty where the machine does not answer in time."""
        self._ended.set()
        self.join(timeout=ANSWERS_WITHIN_S)
        return {} if self.is_alive() else self._series

    def _sample(self) -> None:
        at = round(time.monotonic() - self._begun, 2)
        for name, value in {k: v for read in self._read for k, v in read().items()}.items():
            self._series.setdefault(name, []).append({"seconds": at, "value": round(value, 1)})
        if any(len(points) > MOST_SAMPLES for points in self._series.values()):
            self._every_s *= 2
            for points in self._series.values():
                del points[1::2]


def _machine() -> Callable[[], Reading]:
    """Processor and memory, of the machine and of this process."""
    own = psutil.Process()
    psutil.cpu_percent()  # both count from their first call
    own.cpu_percent()

    def _read() -> Reading:
        memory = psutil.virtual_memory()
        with own.oneshot():
            return {
                "cpu_utilization_percentage": psutil.cpu_percent(),
                "system_memory_usage_megabytes": memory.used / MEGABYTE,
                "system_memory_usage_percentage": memory.used / memory.total * 100,
                "process_cpu_percentage": own.cpu_percent(),
                "process_memory_megabytes": own.memory_info().rss / MEGABYTE,
            }

    return _read


def _accelerators() -> list[Callable[[], Reading]]:
    """NVIDIA's, where there is one and its library of measurements (``nvidia-ml-py``)."""
    try:
        import pynvml

        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
        return [_accelerator(pynvml, number) for number in range(count)]
    except Exception:  # no library, no driver, no accelerator
        return []


def _accelerator(nvml: Any, number: int) -> Callable[[], Reading]:
    handle = nvml.nvmlDeviceGetHandleByIndex(number)

    def _read() -> Reading:
        found: Reading = {}
        with suppress(nvml.NVMLError):  # a part of a card tells of its memory and not of its load
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            found[f"gpu_{number}_memory_usage_megabytes"] = memory.used / MEGABYTE
            found[f"gpu_{number}_memory_usage_percentage"] = memory.used / memory.total * 100
        with suppress(nvml.NVMLError):
            found[f"gpu_{number}_utilization_percentage"] = float(
                nvml.nvmlDeviceGetUtilizationRates(handle).gpu
            )
        with suppress(nvml.NVMLError):
            found[f"gpu_{number}_power_usage_watts"] = nvml.nvmlDeviceGetPowerUsage(handle) / 1000
        return found

    return _read
