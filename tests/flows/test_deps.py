"""Code dependencies: an edit reruns the commands that it can change, and no others of the same door."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows import deps

DOOR = """
from components.stage.frame import run
from components.toy.frame import COMMANDS_SEEN

def _shared():
    from components.toy.shared import both

def make(record):
    from components.toy.making import made
    _shared()

def judge_command(record):
    import components.toy.judging
    _shared()

def note(record):
    print("needs nothing more")

if __name__ == "__main__":
    from components.toy.search import main
"""
FILES = {
    "components/toy/__main__.py": DOOR,
    "components/toy/frame.py": "COMMANDS_SEEN = 0\n",
    "components/toy/making.py": "def made():\n    from components.toy.deep import well\n",
    "components/toy/deep.py": "import components.toy.making\nwell = 1\n",  # a circle ends
    "components/toy/judging.py": "from components.toy import deep\n",
    "components/toy/shared.py": "import json, numpy\nboth = 2\n",
    "components/toy/search.py": "def main(): ...\n",
    "components/stage/frame.py": "def run(): ...\n",
    "components/toy/__init__.py": "",
}
FRAME = ["components/stage/frame.py", "components/toy/__main__.py", "components/toy/frame.py"]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    deps.direct_imports.cache_clear()
    return tmp_path


@pytest.fixture(autouse=True)
def forgotten() -> None:
    deps.direct_imports.cache_clear()


@pytest.mark.parametrize(
    ("command", "own"),
    [
        ("make", ["deep", "making", "shared"]),
        ("judge", ["deep", "judging", "making", "shared"]),
        ("note", []),
    ],
)
def test_a_command_depends_on_what_it_comes_to_import(root: Path, command: str, own: list[str]) -> None:
    expected = sorted([*FRAME, *(f"components/toy/{name}.py" for name in own)])
    assert deps.door_code("components.toy", command) == expected


def test_a_command_that_the_door_lacks_is_named(root: Path) -> None:
    with pytest.raises(LookupError, match="no function 'ruin'"):
        deps.door_code("components.toy", "ruin")


GRAPH = """stages:
  make:
    cmd: python -m components.toy make
    deps:
      - data/source  # kept
      - components/toy/gone.py
    params:
      - toy
  note@x:
    cmd: python -m components.toy note ${item}
    deps:
      - out/make
"""


def test_only_code_is_rewritten_and_the_check_says_what_is_stale(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "dvc.yaml").write_text(GRAPH)
    assert deps.main(["--check"]) == 1 and "make deps" in capsys.readouterr().err
    assert (root / "dvc.yaml").read_text() == GRAPH, "a check changes nothing"
    assert deps.main([]) == 0
    lines = (root / "dvc.yaml").read_text().splitlines()
    code = [line.strip(" -") for line in lines if line.endswith(".py")]
    assert code == deps.door_code("components.toy", "make") + deps.door_code("components.toy", "note")
    left = [line for line in lines if not line.endswith(".py")]
    assert left == [line for line in GRAPH.splitlines() if not line.endswith(".py")]
    assert deps.main(["--check"]) == 0
