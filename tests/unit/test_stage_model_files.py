"""What every model folder has: checksums of its files, and weights that are numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from components.stage.files.model_files import (
    check_files,
    check_loaded,
    check_weights,
    read_json,
    write_checksums,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "encoder").mkdir()  # a model inside another has checksums of its own
    (tmp_path / "encoder/heads.safetensors").write_bytes(b"inner")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    write_checksums(tmp_path)
    return tmp_path


def test_checksums_are_those_of_the_files_and_of_nothing_else(folder: Path) -> None:
    wanted = {
        n: hashlib.sha256(d).hexdigest()
        for n, d in (("config.json", b"{}"), ("model.safetensors", b"weights"))
    }
    assert json.loads((folder / "checksums.json").read_text()) == wanted
    before = (folder / "checksums.json").read_bytes()
    write_checksums(folder)
    (folder / "README.md").write_text("the registry's card comes later")
    check_files(folder)
    assert (folder / "checksums.json").read_bytes() == before


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "changed": (
        lambda f: (f / "model.safetensors").write_bytes(b"Weights"),
        r"model\.safetensors is not the file",
    ),
    "gone": (lambda f: (f / "config.json").unlink(), r"other files than there are: config\.json"),
    "come": (lambda f: (f / "adapter_config.json").write_text("{}"), r"there are: adapter_config\.json"),
    "list": (lambda f: (f / "checksums.json").write_text("[]"), r"checksums\.json is no JSON object"),
    "deep": (lambda f: (f / "checksums.json").write_text("[" * 100_000), "nested too deep"),
    "cut": (lambda f: (f / "checksums.json").write_text('{"config'), "Unterminated"),
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_folder_that_is_not_as_it_was_saved_is_refused(folder: Path, how: str) -> None:
    change, told = CHANGES[how]
    change(folder)
    with pytest.raises(ValueError, match=told):
        check_files(folder)


def test_a_folder_of_an_earlier_version_has_nothing_to_be_held_against(folder: Path) -> None:
    (folder / "checksums.json").unlink()
    (folder / "model.safetensors").write_bytes(b"Weights")
    check_files(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(value: float) -> None:
    good = {"mask": torch.tensor([0.0, float("-inf")]), "ids": torch.tensor([1])}
    check_weights(good.items())
    with pytest.raises(ValueError, match=r"layer\.weight holds"):
        check_weights({**good, "layer.weight": torch.tensor([1.0, value])}.items())


def test_weights_drawn_at_random_are_named() -> None:
    whole: dict[str, list[str]] = {
        "missing_keys": [],
        "mismatched_keys": [],
        "unexpected_keys": ["head.bias"],
    }
    check_loaded(whole, unused=True)
    with pytest.raises(ValueError, match=r"1 weights are unexpected, such as head\.bias"):
        check_loaded(whole)
    with pytest.raises(ValueError, match="2 weights are missing, such as a"):
        check_loaded({**whole, "missing_keys": ["b", "a"]}, unused=True)


def test_json_of_another_shape_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"a": 1}')
    assert read_json(tmp_path / "x.json") == {"a": 1}
    (tmp_path / "x.json").write_text("7")
    with pytest.raises(ValueError, match=r"x\.json is no JSON object"):
        read_json(tmp_path / "x.json")
