"""The door of a component: ``python -m components.X COMMAND [ITEM]`` runs one stage of the graph.

A door reads typed parameters, opens its inputs, calls the library and publishes its outputs. This module is
the frame around it: the record, the exit code, the one-sentence error, and the order to die with the parent.
A command whose function takes more than the record is given the words after its name: for a stage with a
``matrix``, ``cmd: python -m components.X train ${item}`` and ``def train(record, item)``.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import inspect
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence

from components.stage.errors import VitrineError
from components.stage.placement import hold_threads_in_place
from components.stage.record import Record, environment, peak_memory_bytes, save_record

Command = Callable[..., None]  # (record) or (record, item: str)
# Importing the libraries makes millions of objects that stay; a look through them every 700 took a second.
COLLECT_AFTER = (50_000, 20, 20)


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent goes (Linux; elsewhere nothing happens).

    Without it a SIGKILL of the runner leaves a training process writing outputs behind its back.
    """
    if sys.platform != "linux":
        return
    PR_SET_PDEATHSIG = 1  # noqa: N806 - the kernel's name, from linux/prctl.h
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def stage_name(component: str, command: str, *items: str) -> str:
    """DVC's name of the running stage: ``DVC_STAGE`` as DVC exports it, else ``component.command@item``."""
    return os.environ.get("DVC_STAGE") or "@".join((f"{component}.{command}", *items))


def wanted_items(command: Command) -> list[str]:
    """Names of the words that a command wants after its own: the parameters behind the record."""
    return list(inspect.signature(command).parameters)[1:]


def usage(component: str, commands: Mapping[str, Command]) -> str:
    """One line that says which commands there are and which words each one wants."""
    forms = (" ".join((name, *map(str.upper, wanted_items(command)))) for name, command in commands.items())
    return f"usage: python -m components.{component} {{{','.join(forms)}}}"


def explain(error: BaseException) -> tuple[str, int]:
    """One sentence and an exit code for an error."""
    if isinstance(error, VitrineError):
        return str(error), error.exit_code
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk is full ({error.filename or 'while writing'}): free some space and run again; "
            "finished stages are kept.",
            1,
        )
    if isinstance(error, MemoryError):
        return "The machine ran out of memory: lower batch_size or workers in params.yaml.", 1
    return f"{type(error).__name__}: {error}", 1


def run(component: str, commands: Mapping[str, Command], argv: Sequence[str] | None = None) -> int:
    """Run ``argv[0]`` of ``commands`` on ``argv[1:]`` as a stage; the exit code; a record is left behind."""
    name, *items = list(sys.argv[1:] if argv is None else argv) or [""]
    if name not in commands or len(items) != len(wanted_items(commands[name])):
        print(usage(component, commands), file=sys.stderr)
        return 2
    if os.environ.get("VITRINE_RUNNER"):
        die_with_parent()
    hold_threads_in_place()
    gc.set_threshold(*COLLECT_AFTER)
    record = Record(
        stage=stage_name(component, name, *items),
        parent=os.environ.get("VITRINE_PIPELINE_RUN", ""),
        prefect_run=os.environ.get("VITRINE_PREFECT_RUN", ""),
    )
    start = time.perf_counter()
    try:
        commands[name](record, *items)
        record.status = "finished"
    except KeyboardInterrupt:
        record.status, record.error, record.exit_code = "failed", "interrupted", 130
    except Exception as error:
        record.status = "failed"
        record.error, record.exit_code = explain(error)
        if not isinstance(error, VitrineError):
            traceback.print_exc()
        print(f"error: {record.error}", file=sys.stderr)
    record.seconds = time.perf_counter() - start
    record.peak_memory_bytes = peak_memory_bytes()
    record.environment = environment()
    try:
        save_record(record)
    except OSError as error:  # the stage's own outcome stands, whatever happens to its record
        print(f"warning: the record of this run could not be written: {error}", file=sys.stderr)
    return record.exit_code
