"""params.yaml with a profile of conf/ laid on it, and ``--set block.key=value`` on both."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from components.parameters.blocks import BLOCKS, check_blocks, model
from components.stage.errors import ConfigurationError
from components.stage.params import (
    block_model,
    did_you_mean,
    full_stop,
    load_yaml,
    merged,
    read_yaml,
    validate,
)


def profile_names(root: Path) -> list[str]:
    """Profiles there are: the files of conf/."""
    return sorted(path.stem for path in (root / "conf").glob("*.yaml"))


EXTENDS = "extends"  # key of a profile: another one, which it changes in turn


def profile_chain(root: Path, profile: str) -> list[tuple[str, dict[str, Any]]]:
    """File name and blocks of a profile and of those it extends, the first of them first.

    Raises:
        ConfigurationError: one of them does not exist, or a profile extends itself through others.
    """
    chain: list[tuple[str, dict[str, Any]]] = []
    seen: list[str] = []
    wanted: Any = profile
    while wanted is not None:
        by = f"conf/{seen[-1]}.yaml: {EXTENDS}: " if seen else ""
        if wanted not in profile_names(root):
            known = ", ".join(profile_names(root)) or "none"
            raise ConfigurationError(f"{by}There is no profile '{wanted}' (profiles: {known}).")
        if wanted in seen:
            raise ConfigurationError(
                f"{by}Profiles extend each other in a circle ({' → '.join([*seen, wanted])})."
            )
        seen.append(wanted)
        blocks: dict[str, Any] = read_yaml(root / f"conf/{wanted}.yaml")
        wanted = blocks.pop(EXTENDS, None)
        chain.insert(0, (f"conf/{seen[-1]}.yaml", blocks))
    return chain


def profile_values(root: Path, profile: str | None, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The blocks of params.yaml with a profile's (None: no profile) and then overrides laid on them.

    What a profile ``extends`` is laid on first.

    Raises:
        ConfigurationError: there is no such profile; see :func:`profile_chain`.
        ConfigurationError: what comes out does not fit the parameter models.
    """
    blocks, source = read_yaml(root / "params.yaml"), "params.yaml"
    if profile is not None:
        chain = profile_chain(root, profile)
        source = " on ".join(name for name, _ in reversed(chain))
        for _, over in chain:
            blocks = with_profile(blocks, over)
    blocks = with_overrides(blocks, overrides)
    check_blocks(blocks, f"{source} with {' '.join(overrides)}" if overrides else source)
    return blocks


def profile_text(root: Path, profile: str | None, overrides: Sequence[str] = ()) -> str:
    """The parameter file of a worktree; see :func:`profile_values`."""
    made = " and ".join(["params.yaml", *([f"conf/{profile}.yaml"] if profile else []), *overrides])
    text = yaml.safe_dump(profile_values(root, profile, overrides), sort_keys=False, default_flow_style=None)
    return f"# Made from {made.encode('unicode_escape').decode()}; changes here are lost.\n{text}"


def with_profile(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """The blocks of ``base`` with those of a profile laid on them, as :func:`merged` does."""
    result = dict(base)
    for name, values in over.items():
        both = name in BLOCKS and isinstance(values, Mapping) and isinstance(base.get(name), Mapping)
        result[name] = merged(model(name), base[name], values) if both else values
    return result


def parse_override(text: str) -> tuple[list[str], Any]:
    """``a.b=c`` as keys and a typed YAML value: ``3`` is a number, ``[a, b]`` a list, ``null`` nothing.

    Raises:
        ConfigurationError: no ``=``, an empty key, or a value that is not YAML.
    """
    key, sign, value = text.partition("=")
    keys = key.strip().split(".")
    if not sign or not all(keys):
        raise ConfigurationError(f"--set {text}: write it as --set block.key=value.")
    try:
        return keys, load_yaml(value)
    except yaml.YAMLError as error:
        raise ConfigurationError(
            f"--set {text}: the value is not valid YAML ({' '.join(str(error).split())})."
        ) from None


def with_overrides(blocks: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """``blocks`` with overrides applied; an override may name a key that stands in the models alone.

    Raises:
        ConfigurationError: an override names a key that no model has.
    """
    for override in overrides:
        keys, value = parse_override(override)
        name = keys[0]
        now: dict[str, Any] = {}
        if name in BLOCKS:
            now[name] = validate(model(name), blocks.get(name, {}), name).model_dump(mode="json")
        blocks = with_profile(blocks, _nested(None, now, keys, 0, value))
    return dict(blocks)


def _nested(kind: type[BaseModel] | None, now: Any, keys: list[str], at: int, value: Any) -> dict[str, Any]:
    """``value`` at ``keys[at:]``, to be laid over ``now``; a mapping with free keys is given whole."""
    name = keys[at]
    now = now if isinstance(now, Mapping) else {}
    known = list(BLOCKS) if not at else list(kind.model_fields if kind else now)
    if name not in known:
        told = did_you_mean(name, known)
        raise ConfigurationError(full_stop(f"--set {'.'.join(keys[: at + 1])}: unknown key, {told}"))
    below = value
    if at + 1 < len(keys):
        field = kind.model_fields[name] if kind else None
        inner = model(name) if not at else block_model(field.annotation) if field else None
        below = _nested(inner, now.get(name), keys, at + 1, value)
    return {name: below} if kind or not at else {**now, name: below}


MANIFEST = Path("data/source/manifest.yaml")
OVERRIDE = re.compile(r"(?:.+-)?set-[0-9a-f]{8}")  # what ``overrides_name`` makes, a profile's name before it
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def overrides_name(overrides: Sequence[str]) -> str:
    """A stable short name for a set of overrides; ``OVERRIDE`` is its pattern."""
    parsed = sorted((".".join(keys), repr(value)) for keys, value in map(parse_override, overrides))
    return "set-" + hashlib.sha256(repr(parsed).encode()).hexdigest()[:8]


def work_name(profile: str | None, overrides: Sequence[str]) -> str | None:
    """Name of the worktree a run needs; None where the main workspace itself will do."""
    if not overrides:
        return profile
    return "-".join(filter(None, [profile, overrides_name(overrides)]))


def changed_profile(root: Path, name: str) -> str:
    """The profile that an override of this name changes; empty where it changes the workspace, or is none."""
    if OVERRIDE.fullmatch(name) is None or name in profile_names(root):
        return ""
    return name.rpartition("set-")[0].removesuffix("-")


def without_import(root: Path, work: Path, profile: str) -> str:
    """A sentence where a profile's worktree has the workspace's own catalogue; empty else."""
    ours, theirs = root / MANIFEST, work / MANIFEST
    if not theirs.exists() or not ours.exists() or ours.read_bytes() != theirs.read_bytes():
        return ""
    return f"{profile} has no import of its own: it runs on the catalogue of the main workspace ({MANIFEST})"


def checked_name(name: str) -> str:
    """The name of a profile or override, which becomes a folder, a branch and a lock file.

    Raises:
        ConfigurationError: the name is no good file name.
    """
    if NAME.fullmatch(name) is None:
        raise ConfigurationError(f"{name!r} is no profile name; use letters, digits, '.', '_' and '-'.")
    return name
