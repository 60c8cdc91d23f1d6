"""All of params.yaml is checked before anything runs; ``--set`` is typed and refuses what does not exist."""

from __future__ import annotations

import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import hypothesis
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from components.parameters.blocks import BLOCKS, check_parameters, model
from components.parameters.listing import print_parameters, resolved
from components.parameters.profiles import overrides_name, parse_override, profile_values, with_overrides
from components.parameters.runner import RunnerParams
from components.stage.errors import ConfigurationError
from components.stage.params import validate
from tests.flows.toy_workspace import RUNNER, environment

HEAVY = ("torch", "mlflow", "prefect", "dvc", "great_expectations", "open_clip", "faiss", "pandas")


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_parameter_models_and_the_command_itself_import_nothing_heavy() -> None:
    code = (
        "import sys; from components.parameters.blocks import BLOCKS, model; import flows.cli; "
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
    assert "unknown block 'indx', did you mean index?" in told
    assert "block 'tracking' is missing" in told
    assert "runner.gpu.timeout_s: Input should be greater than 0" in told
    assert caught.value.exit_code == 2


def test_a_valid_file_gives_typed_blocks(tmp_path: Path) -> None:
    checked = check_parameters(written(tmp_path / "params.yaml", RUNNER))
    assert isinstance(checked["runner"], RunnerParams) and checked["runner"].gpu.timeout_s == 60.0
    assert model("runner") is RunnerParams


GIVEN = {"runner": {"stages_at_once": 1, "gpu": {"timeout_s": 60.0}}, "refine": {"mllm": None}}


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("runner.gpu.timeout_s=2.5", {"runner": {"stages_at_once": 1, "gpu": {"timeout_s": 2.5}}}),
        ("refine.mllm.doubt_below=0.5", {"refine": {"mllm": {"doubt_below": 0.5}}}),  # a default alone so far
        ("sft.training.steps=3", {"sft": {"training": {"steps": 3}}}),
        ("encoder.model.heads.hidden=512", {"encoder": {"model": {"heads": {"hidden": 512}}}}),
        ("index={kind: hnsw}", {"index": {"kind": "hnsw"}}),
    ],
)  # fmt: skip
def test_an_override_is_typed_and_may_name_a_key_that_only_has_a_default(
    override: str, changed: dict[str, object]
) -> None:
    assert with_overrides(GIVEN, [override]) == GIVEN | changed


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("runner.gpu.timeout=3", "--set runner.gpu.timeout: unknown key, did you mean timeout_s?"),
        ("runer.gpu=3", "did you mean runner?"),
        ("runner.gpu.timeout_s.x=3", "a value, no keys"),
        ("encoder.model.heads.hiden=8", "did you mean hidden?"),
        ("runner", "write it as"),
        ("=3", "write it as"),
        ("runner..gpu=3", "write it as"),
        ("runner.gpu=[", "not valid YAML"),
    ],
)
def test_a_wrong_override_is_a_configuration_error(override: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match="--set") as caught:
        with_overrides(GIVEN, [override])
    assert told in str(caught.value)


def test_a_profile_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "params.yaml").write_text(
        "encoder: {seed: 5, training: {epochs: 3, batch_size: 8}}\nsft: {seed: 1}\n"
    )
    (tmp_path / "conf" / "mine.yaml").write_text(
        "encoder: {training: {epochs: 4}, model: {heads: {hidden: 64}}}\nindex: {kind: hnsw}\n"
    )
    assert profile_values(tmp_path, "mine", ["sft.seed=2"]) == {
        "encoder": {
            "seed": 5,
            "training": {"epochs": 4, "batch_size": 8},
            "model": {"heads": {"hidden": 64}},
        },
        "sft": {"seed": 2},
        "index": {"kind": "hnsw"},
    }
    blocks = resolved(tmp_path, "mine")
    assert set(blocks) == set(BLOCKS) and blocks["encoder"].model_dump()["model"]["heads"]["hidden"] == 64

    (tmp_path / "conf" / "mine.yaml").write_text("encoder: {training: {epoch: 4}}\n")
    with pytest.raises(ConfigurationError) as caught:
        profile_values(tmp_path, "mine")
    assert str(caught.value) == ("conf/mine.yaml: encoder.training.epoch: unknown key, did you mean epochs?")


def test_a_profile_may_extend_another_one(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "params.yaml").write_text("encoder: {seed: 5, training: {epochs: 3, batch_size: 8}}\n")
    for name, text in {
        "base": "encoder: {seed: 6, training: {epochs: 4}}\nsft: {seed: 2}\n",
        "middle": "extends: base\nencoder: {training: {batch_size: 16}}\n",
        "top": "extends: middle\nsft: {seed: 3}\n",
        "typo": "extends: base\nencoder: {sed: 3}\n",
        "lost": "extends: bse\n",
        "one": "extends: two\n",
        "two": "extends: one\n",
        "odd": "extends: [base]\n",
    }.items():
        (tmp_path / "conf" / f"{name}.yaml").write_text(text)
    expected = {"encoder": {"seed": 6, "training": {"epochs": 4, "batch_size": 16}}, "sft": {"seed": 3}}
    assert profile_values(tmp_path, "top") == expected
    for name, told in {
        "typo": "conf/typo.yaml on conf/base.yaml: encoder.sed: unknown key, did you mean seed?",
        "lost": "conf/lost.yaml: extends: There is no profile 'bse' (profiles: base, lost, middle, odd, one,"
        " top, two, typo).",
        "one": "conf/two.yaml: extends: Profiles extend each other in a circle (one → two → one).",
        "odd": "conf/odd.yaml: extends: There is no profile '['base']'",
    }.items():
        with pytest.raises(ConfigurationError) as caught:
            profile_values(tmp_path, name)
        assert str(caught.value).startswith(told)


def test_params_prints_values_their_documentation_and_what_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "params.yaml").write_text("fuse: {temperature: 0.5}\n")
    out = StringIO()
    print_parameters(Console(file=out, width=100), resolved(tmp_path, None), None, as_json=False)
    lines = out.getvalue().splitlines()
    assert all(len(line) <= 100 for line in lines)
    assert any(
        line.split() == ["temperature", "0.5", "*", "[0.02]", "fixed;", "the", "towers", "do", "not", "move"]
        for line in lines
    )
    assert sum(" * [" in line for line in lines) == 1
    print_parameters(Console(), resolved(tmp_path, None), "align_image", as_json=True)
    told = {row["key"]: row for row in json.loads(capsys.readouterr().out)}
    assert told["align_image.text_weight"]["value"] == 0.5 == told["align_image.text_weight"]["default"]
    assert "features are computed once" in told["align_image.train_images"]["doc"]
    for key, told_instead in (
        ("fus", "did you mean fuse"),
        ("fuse.temprature", "did you mean fuse.temperature"),
        ("fuse.x", "see: vitrine params fuse"),
    ):
        with pytest.raises(ConfigurationError, match=told_instead):
            print_parameters(Console(), resolved(tmp_path, None), key, as_json=False)


def test_params_prints_what_lies_at_a_dotted_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "params.yaml").write_text("{}")
    blocks = resolved(tmp_path, None)
    told = {}
    for key in ("fuse.temperature", "encoder.training", "encoder"):
        print_parameters(Console(), blocks, key, as_json=True)
        told[key] = [row["key"] for row in json.loads(capsys.readouterr().out)]
    assert told["fuse.temperature"] == ["fuse.temperature"]
    assert "encoder.training.epochs" in told["encoder.training"]
    assert told["encoder.training"] == [k for k in told["encoder"] if k.startswith("encoder.training.")]


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)


@hypothesis.settings(deadline=None, max_examples=20)
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
    changed = with_overrides({}, [f"report.title={flow}"])
    assert yaml.safe_load(yaml.safe_dump(changed)) == {"report": {"title": value}}


@pytest.mark.parametrize(
    ("text", "seed"), [("010", 10), ("10", 10), ("-0", 0), ("0x10", 16), ("1_000", 1000)]
)
def test_a_number_with_zeros_before_it_counts_in_tens(text: str, seed: int) -> None:
    changed = with_overrides({}, [f"encoder.seed={text}"])
    assert validate(model("encoder"), changed["encoder"], "encoder").seed == seed  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["1:30", "0o"])
def test_a_number_in_sixties_or_none_is_refused(text: str) -> None:
    changed = with_overrides({}, [f"encoder.seed={text}"])
    with pytest.raises(ConfigurationError, match=r"encoder\.seed"):
        validate(model("encoder"), changed["encoder"], "encoder")


def test_the_name_of_a_set_of_overrides_depends_on_what_it_says_only() -> None:
    assert overrides_name(["a.b=1", "c.d=x"]) == overrides_name(["c.d='x'", "a.b=1"])
    assert overrides_name(["a.b=1"]) != overrides_name(["a.b='1'"])
