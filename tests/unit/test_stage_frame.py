"""The frame around every stage: which words reach a command, under which name it is recorded."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import components
from components.stage import frame
from components.stage.frame import in_profile, main
from components.stage.left_out import reason_in
from components.stage.resources.placement import hold_threads_in_place


def test_only_a_stage_of_the_graph_binds_its_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("DVC_STAGE", "OMP_PROC_BIND"):
        monkeypatch.delenv(name, raising=False)
    hold_threads_in_place()
    assert "OMP_PROC_BIND" not in os.environ
    monkeypatch.setenv("DVC_STAGE", "encoder")
    monkeypatch.setenv("OMP_PROC_BIND", "false")
    hold_threads_in_place()
    assert os.environ["OMP_PROC_BIND"] == "false"
    monkeypatch.delenv("OMP_PROC_BIND")
    hold_threads_in_place()
    assert os.environ["OMP_PROC_BIND"] == "true"


ROOM = """
from typing import Literal
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.record import Record

class Toy(Params):
    seed: int = 3
    rate: float = 0.5

class Blocks(Params):
    variant: Literal["raw", "full"]
    toy: Toy = Toy()

def run(params: Blocks, paths: Paths, record: Record) -> None:
    text = f"{params.variant} {params.toy.seed} {params.toy.rate} {paths.vlclip} {paths.catalogue}"
    open("made.txt", "w").write(text)
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace whose components have one stage more, ``toy.train``."""
    monkeypatch.chdir(tmp_path)
    for name in ("DVC_STAGE", "VITRINE_PARAMS"):
        monkeypatch.delenv(name, raising=False)
    room = tmp_path / "components/toy/train"
    room.mkdir(parents=True)
    (room / "stage.py").write_text(ROOM)
    monkeypatch.setattr(frame, "COMPONENTS", tmp_path / "components")
    monkeypatch.setattr(components, "__path__", [*components.__path__, str(tmp_path / "components")])
    Path("params.yaml").write_text("toy: {rate: 0.25}\nother: {}\n")
    return tmp_path


def test_a_stage_gets_defaults_file_and_command_in_this_order(toy: Path) -> None:
    assert main(["toy.train", "variant=full", "toy.seed=5", "paths.vlclip=models/study"]) == 0
    assert Path("made.txt").read_text() == "full 5 0.25 models/study data/checked"
    (record,) = [json.loads(file.read_text()) for file in Path(".vitrine/records").rglob("*.json")]
    assert record["parameters"] == {"variant": "full", "toy": {"seed": 5, "rate": 0.25}}
    assert record["status"] == "finished"
    folder = "toy.train@variant=full@toy.seed=5@paths.vlclip=models_study"
    assert [path.name for path in Path(".vitrine/records").iterdir()] == [record["stage"]] == [folder]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["toy.train"], "variant: Field required"),
        (["toy.train", "variant=half"], "variant: "),
        (["toy.train", "variant=full", "toy.sede=4"], "toy.sede: unknown key"),
        (["toy.train", "variant=full", "paths.nowhere=x"], "paths.nowhere: unknown key"),
        (["toy.train", "full"], "write it as name=value"),
        (["toy.train", "variant=full", ".=4"], "write it as name=value"),
        (["toy.train", "variant=full", "toy=1", "toy.seed=4"], "given as a whole"),
        (["toy.train", "variant={"], "is not valid YAML"),
        (["toy.tune", "variant=full"], "There is no stage 'toy.tune'; known are: toy.train"),
    ],
)
def test_a_wrong_setting_is_refused_and_nothing_runs(
    toy: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert told in capsys.readouterr().err
    assert not Path("made.txt").exists()


@pytest.mark.parametrize("words", [[], ["--help"], ["variant=full"]])
def test_without_a_room_the_rooms_are_listed(
    toy: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert "rooms: toy.train" in capsys.readouterr().err


IMPOSSIBLE = """
from components.stage.left_out import NotPossibleError
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.record import Record

class Blocks(Params):
    network: str = ""

def run(params: Blocks, paths: Paths, record: Record) -> None:
    raise NotPossibleError("No <b>queries</b> to learn from.")
"""
GRAPH = """
stages:
  fuse:
    matrix: {network: [a, b]}
    cmd: python -m components.stage toy.fuse network=${item.network}
    deps: [data/checked]
    outs: ["models/${item.network}", "plots/${item.network}.csv", reports/fuse.html]
  eval:
    cmd: python -m components.stage toy.train variant=full
    deps: [models/b]
    outs: [metrics/fuse.json: {cache: false}]
    metrics: [metrics/flat.json: {cache: false}]
"""


def test_a_command_of_any_length_leaves_a_record(toy: Path) -> None:
    for seed in (5, 6):
        assert main(["toy.train", "variant=full", f"paths.vlclip={'ä' * 200}", f"toy.seed={seed}"]) == 0
    found = [json.loads(path.read_text()) for path in toy.glob(".vitrine/records/*/*.json")]
    assert len({record["stage"] for record in found}) == 2, "two commands have two names"
    assert all(record["stage"].startswith("toy.train@variant=full@paths.vlclip=ä") for record in found)


def test_what_a_catalogue_cannot_feed_is_left_out_and_so_is_what_reads_it(
    toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    room = toy / "components/toy/fuse"
    room.mkdir()
    (room / "stage.py").write_text(IMPOSSIBLE)
    assert main(["toy.fuse", "network=b"]) == 4, "by hand it is an error as any other"
    Path("dvc.yaml").write_text(GRAPH)
    assert main(["toy.fuse", "network=b"]) == 0
    reason = "No <b>queries</b> to learn from."
    assert f"left out: {reason}" in capsys.readouterr().err
    assert reason_in(Path("models/b")) == reason and not Path("models/a").exists()
    assert Path("plots/b.csv").read_text() == "step\n" and reason_in(Path("plots/b.csv"))
    page = Path("reports/fuse.html").read_text()
    assert "Content-Security-Policy" in page and "&lt;b&gt;queries" in page and "<b>" not in page

    assert main(["toy.train", "variant=full"]) == 0
    assert not Path("made.txt").exists(), "what it reads is not there, so it does not run"
    for made in ("metrics/fuse.json", "metrics/flat.json"):
        assert reason_in(Path(made)) == reason
    records = {p.parent.name: json.loads(p.read_text()) for p in Path(".vitrine/records").rglob("*.json")}
    assert {record["left_out"] for record in records.values() if record["status"] == "finished"} == {reason}

    Path("models/b/left_out.json").unlink()
    assert main(["toy.train", "variant=full"]) == 0 and Path("made.txt").exists()


def test_a_sentence_of_a_profiles_worktree_names_the_profile_and_where_its_paths_begin(
    tmp_path: Path,
) -> None:
    work = tmp_path / ".vitrine" / "work" / "fashion"
    (work / "conf").mkdir(parents=True)
    said = "models/index does not exist; run 'vitrine run --until index'."
    assert in_profile(said, tmp_path) == said
    assert in_profile(said, work).endswith(f"(paths begin in {work})")  # an override is run by its --set
    assert in_profile("see .vitrine/quality/catalog_quality/page.html", work).endswith(
        f"(paths begin in {work})"
    )
    (tmp_path / "conf").mkdir()
    for place in (tmp_path, work):  # a profile of which git does not know yet, and one that it knows
        file = place / "conf" / "fashion.yaml"
        file.write_text("")
        told = in_profile(said, work)
        assert "'vitrine run --profile fashion --until index'" in told and str(work) in told
        file.unlink()
    file.write_text("")
    assert (
        in_profile("start with: vitrine run --profile other", work)
        == "start with: vitrine run --profile other"
    )
    assert in_profile(f"{tmp_path}/data/x is broken.", work) == f"{tmp_path}/data/x is broken."
