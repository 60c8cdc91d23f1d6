"""All of params.yaml is checked before anything runs; ``--set`` is typed and refuses what does not exist."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from components.stage.errors import ConfigurationError
from flows.parameters import check_parameters, model, overrides_name, parse_override, with_overrides
from flows.params import RunnerParams
from tests.flows.toy_workspace import RUNNER, environment

HEAVY = ("torch", "mlflow", "prefect", "dvc", "great_expectations", "open_clip", "faiss", "pandas")


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_parameter_models_and_the_command_itself_import_nothing_heavy() -> None:
    code = (
        "import sys; from flows.parameters import BLOCKS, model; import flows.cli; "
        "[model(b) for b in BLOCKS]; print(' '.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    assert not {name.split(".")[0] for name in done.stdout.split()} & set(HEAVY)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    path = written(tmp_path / "params.yaml", RUNNER.replace("60.0", "-1") + "indx: {}\n")
    with pytest.raises(ConfigurationError) as caught:
        check_parameters(path, required=["tracking"])
    told = str(caught.value)
    assert "unknown block 'indx' (did you mean index?)" in told
    assert "block 'tracking' is missing" in told
    assert "runner.gpu.timeout_s: Input should be greater than 0" in told
    assert caught.value.exit_code == 2


def test_a_valid_file_gives_typed_blocks(tmp_path: Path) -> None:
    checked = check_parameters(written(tmp_path / "params.yaml", RUNNER))
    assert isinstance(checked["runner"], RunnerParams) and checked["runner"].gpu.timeout_s == 60.0
    assert model("runner") is RunnerParams


def test_overrides_are_typed_and_leave_comments_and_order_alone() -> None:
    text = "a: # first\n  b: 1  # one\n  c: [1, 2]\nz: {d: null}\n"
    changed = with_overrides(text, ["a.b=2.5", "z.d=on the way", "a.c=[3]"])
    assert yaml.safe_load(changed) == {"a": {"b": 2.5, "c": [3]}, "z": {"d": "on the way"}}
    assert "# first" in changed and "# one" in changed and changed.index("a:") < changed.index("z:")


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("runner.gpu.timeout=3", "did you mean timeout_s?"),
        ("runer.gpu=3", "did you mean runner?"),
        ("runner.gpu.timeout_s.x=3", "a value, no keys"),
        ("runner", "write it as"),
        ("=3", "write it as"),
        ("runner..gpu=3", "write it as"),
        ("runner.gpu=[", "not valid YAML"),
    ],
)
def test_a_wrong_override_is_a_configuration_error(override: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match="--set") as caught:
        with_overrides(RUNNER, [override])
    assert told in str(caught.value)


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)


@hypothesis.settings(deadline=None, max_examples=40)
@hypothesis.example("\x85")
@hypothesis.example(1e-05)
@hypothesis.example([1e22, float("-inf")])
@hypothesis.example(["\u2028", "é"])
@given(scalars | st.lists(scalars, max_size=3))
def test_an_override_reaches_the_file_as_the_value_it_says(value: object) -> None:
    flow = (
        yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=False)
        .removesuffix("...\n")
        .strip()
    )
    assert parse_override(f"a.b={flow}") == (["a", "b"], value)
    assert yaml.safe_load(with_overrides("a:\n  b: 0\n", [f"a.b={flow}"])) == {"a": {"b": value}}


def test_the_name_of_a_set_of_overrides_depends_on_what_it_says_only() -> None:
    assert overrides_name(["a.b=1", "c.d=x"]) == overrides_name(["c.d='x'", "a.b=1"])
    assert overrides_name(["a.b=1"]) != overrides_name(["a.b='1'"])
