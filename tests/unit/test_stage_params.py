"""Parameters: what is wrong is told with its full key, all of it at once, and nothing is filled in."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field, ValidationError

from components.stage.errors import ConfigurationError
from components.stage.params import Params, load_params, with_seed


class Inner(Params):
    rate: float = Field(gt=0)


class Block(Params):
    seed: int
    inner: Inner


GOOD = "block: {seed: 3, inner: {rate: 0.5}}\n"


def write(folder: Path, text: str) -> Path:
    file = folder / "params.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_block_is_read_from_the_workspace_or_the_named_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VITRINE_PARAMS", raising=False)
    monkeypatch.chdir(tmp_path)
    write(tmp_path, GOOD)
    assert load_params("block", Block) == Block(seed=3, inner=Inner(rate=0.5))
    (tmp_path / "elsewhere").mkdir()
    file = write(tmp_path / "elsewhere", GOOD.replace("3", "4"))
    monkeypatch.setenv("VITRINE_PARAMS", str(file))
    assert load_params("block", Block).seed == 4


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("other: {}\n", ["has no block 'block'"]),
        ("- a\n- b\n", ["must hold a mapping"]),
        ("block: {seed: 3\n", ["is not valid YAML"]),
        ("block: {seed: 3, inner: {rate: 0.5}, sede: 4}\n", ["block.sede: unknown key", "inner, seed"]),
        ("block: {seed: 3, inner: {rate: 0.5, rat: 1}}\n", ["block.inner.rat: unknown key"]),
        ("block: {inner: {rate: -1}}\n", ["block.seed: Field required", "block.inner.rate: "]),
        ("block:\n", ["block: "]),
    ],
)
def test_every_mistake_is_told_with_its_key(tmp_path: Path, text: str, told: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_params("block", Block, write(tmp_path, text))
    assert all(words in str(caught.value) for words in told), str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="root of a Vitrine workspace"):
        load_params("block", Block, tmp_path / "params.yaml")


def test_a_block_cannot_be_changed(tmp_path: Path) -> None:
    block = load_params("block", Block, write(tmp_path, GOOD))
    with pytest.raises(ValidationError):
        block.inner.rate = 2.0


def test_a_study_changes_the_seed_and_nothing_else() -> None:
    block = Block(seed=3, inner=Inner(rate=0.5))
    assert with_seed(block, "own") == block
    assert with_seed(block, "11") == Block(seed=11, inner=block.inner) and block.seed == 3


@pytest.mark.parametrize("seed", ["", "-1", "1.5", "eleven", "Own"])
def test_what_is_no_seed_is_refused(seed: str) -> None:
    with pytest.raises(ConfigurationError, match="whole number"):
        with_seed(Block(seed=3, inner=Inner(rate=0.5)), seed)
