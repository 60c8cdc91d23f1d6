"""Each stage depends on a few folders of code, and they hold everything that its command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.invariant.imports import ROOT, stage_files

GRAPHS = ("dvc.yaml", "studies/dvc.yaml")
STAGES = {
    f"{graph}:{name}": stage.get("do", stage)
    for graph in GRAPHS
    for name, stage in yaml.safe_load((ROOT / graph).read_text())["stages"].items()
}
# What only measures, answers or draws: a change there must not train a model again.
MEASURING = ("evaluate", "search", "describe", "report", "page", "galleries")

TRAINING = [name for name, stage in STAGES.items() if stage.get("meta", {}).get("pool") == "gpu"]


def code_folders(stage: dict[str, Any]) -> list[str]:
    return [dep for dep in stage["deps"] if dep.startswith("components/")]


@pytest.mark.parametrize("name", STAGES)
def test_folders_cover_everything_that_the_command_runs(name: str) -> None:
    folders = code_folders(STAGES[name])
    assert all((ROOT / folder).is_dir() for folder in folders), folders
    missing = {
        file
        for file in stage_files(STAGES[name]["cmd"])
        if not file.endswith("/__main__.py") and not any(file.startswith(f"{f}/") for f in folders)
    }
    assert not missing, f"{name} runs code that it does not depend on: {sorted(missing)}"


@pytest.mark.parametrize("name", STAGES)
def test_no_part_of_a_command_is_empty(name: str) -> None:
    # an empty setting leaves two spaces, which the lock folds into one: the stage would run again each time
    assert '""' not in str(STAGES[name]) and "''" not in str(STAGES[name]) and "  " not in STAGES[name]["cmd"]


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_few_folders(name: str) -> None:
    # both ask a chat model and weigh evidence, besides what every stage of their system needs
    most = 7 if name in ("dvc.yaml:clarify", "dvc.yaml:refine") else 6
    assert 2 <= len(code_folders(STAGES[name])) <= most


@pytest.mark.parametrize("name", STAGES)
def test_no_stage_depends_on_a_folder_that_its_command_never_enters(name: str) -> None:
    files = stage_files(STAGES[name]["cmd"])
    idle = [f for f in code_folders(STAGES[name]) if not any(file.startswith(f"{f}/") for file in files)]
    assert not idle, f"{name} reruns for nothing when these change: {idle}"


@pytest.mark.parametrize("name", TRAINING)
def test_no_training_stage_depends_on_code_that_only_measures_or_shows(name: str) -> None:
    for folder in code_folders(STAGES[name]):
        below = list((ROOT / folder).rglob("*.py"))
        rooms = {part for path in below for part in Path(path).relative_to(ROOT).parts}
        assert not rooms & set(MEASURING), f"{name} would train again after an edit in {folder}"
