"""The frame of a stage: ``python -m components.stage ROOM [name=value ...]`` runs one stage of the graph.

A room is a folder of ``components`` with a ``stage.py``, written with dots: ``encoder.model.train``. Its
function ``run(params, paths, record)`` does the work. This module is what stands around it: typed parameters,
the record, the exit code, an error in one sentence, and the request to end with the parent process.

The type of ``params`` is the stage's own model. A field that is itself a block of parameters is read from the
block of that name in params.yaml; any other field comes from the command (``variant=full``), which may also
change a block (``vlclip.seed=43``) or a path (``paths.vlclip=models/study/vlclip``).
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import importlib
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import yaml

from components.stage.errors import ConfigurationError, VitrineError
from components.stage.files.printable import printable
from components.stage.left_out import left_out_if_impossible
from components.stage.params import (
    Params,
    block_model,
    load_yaml,
    merged,
    parameters_file,
    read_yaml,
    validate,
)
from components.stage.paths import Paths
from components.stage.record import Record, environment, peak_memory_bytes, save_record
from components.stage.resources.full_disk import DISK_FULL, of_full_disk
from components.stage.resources.memory import keep_freed_memory
from components.stage.resources.placement import hold_threads_in_place
from components.stage.resources.usage import usage_of_machine

COMPONENTS = Path(__file__).parents[1]
COMMAND = re.compile(r"vitrine (?:run|import|sync|register)\b(?!.* --profile)")
RELATIVE = re.compile(r"(?<![\w/.-])(?:\.vitrine|conf|data|metrics|models|plots|reports|results)/\w")
LONGEST_NAME = 120  # bytes, of the records of a command by hand
# Importing the libraries makes millions of objects that stay; checking them every 700 took a second.
COLLECT_AFTER = (50_000, 20, 20)


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent goes (Linux; elsewhere nothing happens).

    Without it, after a SIGKILL of the runner a training process goes on writing outputs.
    """
    if sys.platform != "linux":
        return
    PR_SET_PDEATHSIG = 1  # noqa: N806 - the kernel's name, from linux/prctl.h
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def in_profile(text: str, root: Path | None = None) -> str:
    """A sentence said in the worktree of a profile, for a person who stands in the main workspace.

    The commands it names get ``--profile``, and it says where the relative paths in it begin.
    """
    root = root or Path.cwd()
    if root.parts[-3:-1] != (".vitrine", "work"):
        return text
    # A profile that is not committed yet is in the main workspace alone.
    if any((place / "conf" / f"{root.name}.yaml").exists() for place in (root, root.parents[2])):
        text = COMMAND.sub(rf"\g<0> --profile {root.name}", text)
    return f"{text} (paths begin in {root})" if RELATIVE.search(text) else text


def explain(error: BaseException) -> tuple[str, int]:
    """One sentence and an exit code for an error."""
    if of_full_disk(error):
        return DISK_FULL, error.exit_code if isinstance(error, VitrineError) else 1
    if isinstance(error, VitrineError):
        return printable(in_profile(str(error)), "\n\t"), error.exit_code
    if isinstance(error, MemoryError):
        return "The machine ran out of memory: lower batch_size or workers in params.yaml.", 1
    return printable(f"{type(error).__name__}: {error}", "\n\t"), 1


class Stage(NamedTuple):
    """One stage: its function and the model of its parameters."""

    run: Callable[[Any, Paths, Record], None]
    params: type[Params]


def rooms() -> list[str]:
    """Every folder of ``components`` that has a stage, written with dots."""
    found = (file.parent.relative_to(COMPONENTS) for file in COMPONENTS.rglob("stage.py"))
    return sorted(".".join(folder.parts) for folder in found)


def load_stage(room: str) -> Stage:
    """The stage of a room.

    Raises:
        ConfigurationError: there is no such room.
    """
    if room not in rooms():
        raise ConfigurationError(f"There is no stage '{room}'; known are: {', '.join(rooms())}.")
    run_stage = importlib.import_module(f"components.{room}.stage").run
    model = next(iter(get_type_hints(run_stage).values()))
    return Stage(run_stage, model)


def read_words(words: Sequence[str]) -> dict[str, Any]:
    """``a.b=1 c=x`` as ``{"a": {"b": 1}, "c": "x"}``; values are read as YAML.

    Raises:
        ConfigurationError: a word without ``=`` or without a name before it, or whose value cannot be read.
    """
    values: dict[str, Any] = {}
    for word in words:
        key, sign, text = word.partition("=")
        *folders, name = key.split(".")
        if not sign or not all((*folders, name)):
            raise ConfigurationError(f"'{word}' is not a setting; write it as name=value.")
        place = values
        for folder in folders:
            place = place.setdefault(folder, {})
            if not isinstance(place, dict):
                raise ConfigurationError(f"'{word}' sets a part of '{folder}', which was given as a whole.")
        try:
            place[name] = load_yaml(text)
        except yaml.YAMLError as error:
            raise ConfigurationError(
                f"'{word}' is not valid YAML ({' '.join(str(error).split())})."
            ) from None
    return values


def stage_parameters(model: type[Params], words: Sequence[str]) -> tuple[Params, Paths]:
    """The parameters of a stage and the paths of its workspace, from params.yaml and the command's words.

    Raises:
        ConfigurationError: a word, a block or a path that does not fit; every problem with its full key.
    """
    said = read_words(words)
    paths = validate(Paths, said.pop("paths", {}), "paths")
    blocks = [name for name, field in model.model_fields.items() if block_model(field.annotation)]
    written = read_yaml(parameters_file()) if blocks else {}
    values = merged(model, {name: written[name] for name in blocks if name in written}, said)
    return validate(model, values, ""), paths


def work(stage: Callable[[Record], None], name: str) -> int:
    """Run a stage under its record and return the exit code; the record is left behind whatever happens."""
    if os.environ.get("VITRINE_RUNNER"):
        die_with_parent()
    hold_threads_in_place()
    keep_freed_memory()
    gc.set_threshold(*COLLECT_AFTER)
    record = Record(
        stage=name,
        parent=os.environ.get("VITRINE_PIPELINE_RUN", ""),
        prefect_run=os.environ.get("VITRINE_PREFECT_RUN", ""),
    )
    start = time.perf_counter()
    try:
        with usage_of_machine(record):
            stage(record)
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


def main(words: Sequence[str]) -> int:
    """Run the stage of the room ``words[0]`` with the settings behind it; the exit code."""
    if not words or "=" in words[0] or words[0].startswith("-"):
        print("usage: python -m components.stage ROOM [name=value ...]", file=sys.stderr)
        print(f"rooms: {', '.join(rooms())}", file=sys.stderr)
        return 2
    room, *settings = words

    def _stage(record: Record) -> None:
        with left_out_if_impossible(words, record) as possible:
            if possible:
                loaded = load_stage(room)
                params, paths = stage_parameters(loaded.params, settings)
                record.parameters = params.model_dump(mode="json")
                loaded.run(params, paths, record)

    return work(_stage, os.environ.get("DVC_STAGE") or _name_by_hand(words))


def _name_by_hand(words: Sequence[str]) -> str:
    """What a command by hand is called, where DVC names no stage: also the name of its records' folder.

    A longer one ends in a hash of the whole, for file systems take 255 bytes.
    """
    name = "@".join(words).replace("/", "_").encode(errors="surrogateescape")
    if len(name) > LONGEST_NAME:
        digest = hashlib.sha256(name).hexdigest()[:12]
        name = name[: LONGEST_NAME - 13].decode(errors="ignore").encode() + f"-{digest}".encode()
    return name.decode(errors="replace")
