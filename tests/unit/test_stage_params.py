"""Parameters: defaults stand in the models, and what is wrong is told with its full key, all at once."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field, ValidationError

from components.stage.errors import ConfigurationError
from components.stage.params import Params, load_params, merged, validate


class Inner(Params):
    rate: float = Field(gt=0)


class Block(Params):
    seed: int
    inner: Inner


class Rates(Params):
    low: float = Field(0.1, gt=0)
    high: float = Field(0.9, gt=0)


class File(Params):
    whole: ClassVar[bool] = True
    path: str
    sha256: str | None = None


class Defaults(Params):
    seed: int = 1
    file: File | None = File(path="a", sha256="0")
    rates: Rates = Rates(low=0.2)
    more: Rates | None = None
    free: dict[str, object] = Field({"a": 1})


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
        ("block: {seed: 3, inner: {rate: 0.5}, sede: 4}\n", ["block.sede: unknown key, did you mean seed?"]),
        (
            "block: {seed: 3, inner: {rate: 0.5, rat: 1}}\n",
            ["block.inner.rat: unknown key, did you mean rate?"],
        ),
        ("block: {inner: {rate: -1}}\n", ["block.seed: Field required", "block.inner.rate: "]),
        ("block: {seed: 3, inner: {rate: 0.5}, xyz: 1}\n", ["block.xyz: unknown key, known: inner, seed"]),
        ("block:\n", ["block: "]),
    ],
)
def test_every_mistake_is_reported_with_its_key(tmp_path: Path, text: str, told: list[str]) -> None:
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


@pytest.mark.parametrize(
    ("given", "resolved"),
    [
        ({}, {"seed": 1, "rates": {"low": 0.2, "high": 0.9}, "more": None, "free": {"a": 1}}),
        ({"rates": {"high": 0.5}}, {"rates": {"low": 0.2, "high": 0.5}}),  # this field's own default stays
        ({"more": {"high": 0.5}}, {"more": {"low": 0.1, "high": 0.5}}),
        ({"free": {"b": 2}}, {"free": {"b": 2}}),
        ({"file": {"path": "b"}}, {"file": {"path": "b", "sha256": None}}),  # not the default's checksum
    ],
)
def test_a_key_that_is_not_given_has_its_default(
    given: dict[str, object], resolved: dict[str, object]
) -> None:
    assert Defaults.model_validate(given).model_dump().items() >= resolved.items()


def test_an_unknown_key_below_a_default_names_the_nearest_one() -> None:
    with pytest.raises(ConfigurationError, match=r"^d\.rates\.hihg: unknown key, did you mean high\?"):
        validate(Defaults, {"rates": {"hihg": 1}}, "d")


@pytest.mark.parametrize(
    ("over", "result"),
    [
        ({"rates": {"high": 3}}, {"rates": {"low": 1, "high": 3}}),
        ({"rates": None}, {"rates": None}),
        ({"free": {"b": 2}}, {"free": {"b": 2}}),
        ({"more": {"low": 4}}, {"more": {"low": 4}}),
        ({"unknown": {"a": 1}}, {"unknown": {"a": 1}}),
        ({"file": {"path": "b"}}, {"file": {"path": "b"}}),
    ],
)
def test_parameter_models_merge_key_by_key_and_everything_else_is_replaced(
    over: dict[str, object], result: dict[str, object]
) -> None:
    base: dict[str, object] = {"rates": {"low": 1, "high": 2}, "free": {"a": 1}, "more": None}
    base["file"] = {"path": "a", "sha256": "0"}
    assert merged(Defaults, base, over) == base | result
