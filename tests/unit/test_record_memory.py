"""The peak memory of a record is that of the stage's own process."""

from __future__ import annotations

import subprocess
import sys

import pytest

BIG = 400 * 2**20
SMALL = "from components.stage.record import peak_memory_bytes; print(peak_memory_bytes())"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system's own count is used")
def test_what_the_starting_process_held_is_not_counted() -> None:
    starter = (
        f"import subprocess, sys; held = b'x' * {BIG}; subprocess.run([sys.executable, '-c', {SMALL!r}])"
    )
    done = subprocess.run([sys.executable, "-c", starter], capture_output=True, text=True, check=True)
    assert 2**20 < int(done.stdout) < BIG / 2


def test_what_was_held_and_freed_is_counted() -> None:
    code = f"held = bytearray(b'x') * {BIG}; del held; {SMALL}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) > BIG
