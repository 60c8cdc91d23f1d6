"""What others write into MLflow never becomes a path, a query or markup here."""

from __future__ import annotations

import json
import shutil
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from components.stage.record import Interval
from components.tracking.compare.compare import Comparison, FigureRow, SeedGroup
from components.tracking.compare.paired import PairedDifference
from components.tracking.compare.recorded import side_of
from components.tracking.compare.sides import Side
from components.tracking.compare.view import show
from components.tracking.errors import ModelFolderError, UnknownReferenceError
from components.tracking.lineage.lineage import lineage, tree
from components.tracking.lineage.lockfile import Output, cached_file, file_md5, is_inside, located
from components.tracking.publish.publish import publish
from components.tracking.publish.runs import Runs
from components.tracking.registry.registry import CONTENT, load_path, model_card, register, weights_origins
from components.tracking.store import connect, store_of

MODEL, NAME = Path("models/encoder"), "vitrine-encoder"


@pytest.fixture(scope="module")
def trained(new_workspace):
    workspace = new_workspace()
    records = workspace.pipeline(parent="p1")
    workspace.run_id = publish(workspace.root).published[records["encoder"].id]
    register(workspace.root, "encoder", MODEL, "champion")
    workspace.client = connect(store_of(workspace.root))
    return workspace


@pytest.fixture
def registered(trained):
    """The same with version 1 as it was registered, and nothing fetched; a test may spoil it."""
    shutil.rmtree(trained.root / ".vitrine/models", ignore_errors=True)
    version = trained.client.get_model_version(NAME, "1")
    folder = trained.client.get_logged_model(version.source.removeprefix("models:/")).artifact_location
    trained.artifacts = Path(folder.removeprefix("file://")) / "model"
    before = {path: path.read_bytes() for path in trained.artifacts.iterdir()}
    yield trained
    trained.client.set_model_version_tag(NAME, "1", CONTENT, version.tags[CONTENT])
    for path in trained.artifacts.iterdir():
        path.unlink()
    for path, content in before.items():
        path.write_bytes(content)


def everything(root: Path) -> set[Path]:
    return {p for p in root.parent.rglob("*") if "mlruns" not in p.parts and ".git" not in p.parts}


@pytest.mark.parametrize(
    "tag",
    ["../../../components", "/tmp/x", "", "a" * 63, "A" * 64, "a" * 64 + "\n", "a" * 32 + "/" + "a" * 31],
)
def test_a_tag_that_is_not_a_hash_is_refused_before_anything_is_written(registered, tag):
    registered.client.set_model_version_tag(NAME, "1", CONTENT, tag)
    before = everything(registered.root)
    with pytest.raises(
        ModelFolderError, match=r"vitrine-encoder v1 in MLflow is .*not a SHA-256 of 64 hex digits"
    ):
        load_path(registered.root, "encoder", "champion")
    assert everything(registered.root) == before


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("evil.py", "print('ran')\n", "may not be registered"),
        ("config.json", '{"tampered": true}', "is not the model that was registered"),
    ],
)
def test_files_that_are_not_those_registered_are_never_published(registered, name, content, said):
    (registered.artifacts / name).write_text(content)
    before = everything(registered.root)
    with pytest.raises(ModelFolderError, match=said):
        load_path(registered.root, "encoder", "champion")
    assert everything(registered.root) == before, "nothing of it stays, not even aside"


def test_a_fetched_model_is_checked_and_stored_under_its_hash(registered):
    folder = load_path(registered.root, "encoder", "champion")
    assert folder.parent == registered.root / ".vitrine/models" and len(folder.name) == 64
    whole = (folder / "model.safetensors").read_bytes()
    assert whole == (registered.root / MODEL / "model.safetensors").read_bytes()
    assert load_path(registered.root, "encoder", "champion") == folder
    (folder / "model.safetensors").write_bytes(whole[:-1] + b"?")
    (folder / "config.json").unlink()
    assert load_path(registered.root, "encoder", "champion") == folder, "a damaged copy is fetched again"
    assert (folder / "model.safetensors").read_bytes() == whole and (folder / "config.json").is_file()


@pytest.mark.parametrize("source", ["/etc", "file:///etc", "runs:/b/x", "models:/m-1/../x", "models:/n/1"])
def test_a_source_that_is_no_logged_model_is_refused(registered, monkeypatch, source):
    from mlflow.tracking import MlflowClient

    version = SimpleNamespace(version="1", tags={CONTENT: "a" * 64}, source=source)
    monkeypatch.setattr(MlflowClient, "get_model_version_by_alias", lambda *_: version)
    with pytest.raises(ModelFolderError, match="not a logged model"):
        load_path(registered.root, "encoder", "champion")


def test_paths_of_lock_entries_from_mlflow_cannot_leave_the_workspace(bare, tmp_path):
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    (bare.root / ".dvc/cache/files/md5").mkdir(parents=True)
    outside = Output(path="metrics/../../secret.json", md5=file_md5(secret))
    assert located(bare.root, outside) == {}
    assert located(bare.root, Output(path=str(secret), md5=file_md5(secret))) == {}
    assert cached_file(bare.root, "../../../../../secret.json") is None
    assert cached_file(bare.root, f"../{secret}") is None
    for path, inside in {
        "a/b": True,
        "a/../b": False,
        "/a": False,
        "": False,
        ".": False,
        "a\\b": False,
    }.items():
        assert is_inside(path) is inside


def test_a_folders_listing_cannot_name_files_outside_it(bare):
    bare.write("data/x/a.txt", "a")
    bare._cache(bare.root / "data/x")
    listing = [
        {"md5": file_md5(bare.root / "data/x/a.txt"), "relpath": name} for name in ("../../b", "a.txt")
    ]
    folder = "b" * 32 + ".dir"
    bare._into_cache(folder, json.dumps(listing).encode())
    assert list(located(bare.root, Output(path="data/x", md5=folder))) == ["data/x/a.txt"]


def test_a_file_of_a_run_is_fetched_only_by_a_path_inside_it(tmp_path):
    def download(run_id: str, path: str, target: str) -> str:
        raise AssertionError(f"{path} was asked for")

    runs = Runs(SimpleNamespace(download_artifacts=download), ["0"])
    for run_id, path in (
        ("../x", "a.json"),
        ("r1", "metrics/../../a.json"),
        ("r1", "/etc/passwd"),
        ("r1", ""),
    ):
        run: Any = SimpleNamespace(info=SimpleNamespace(run_id=run_id))
        assert runs.file(run, path, tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_tags_are_neither_markup_nor_query_syntax(trained):
    client = connect(store_of(trained.root))
    for tag, value in (
        ("vitrine.stage", "[/bold]enc[link=http://x]"),
        ("vitrine.out.models/x", "[/y]"),
        ("vitrine.dep.data/z", "' OR '"),
        ("vitrine.git_commit", "[/red]"),
    ):
        client.set_tag(trained.run_id, tag, value)
    shown = Console(width=200, record=True, file=StringIO())
    shown.print(tree(lineage(trained.root, trained.run_id)))
    text = shown.export_text()
    assert "[/bold]enc[link=http://x]" in text and "models/x [/y]" in text and "' OR '" in text


def test_a_card_keeps_values_in_their_cells():
    tags = {"vitrine.stage": "encoder", "vitrine.dep.x": "<img src=x>"}
    data = SimpleNamespace(tags=tags, metrics={}, params={"a": "1 | 2\n# big", "b": "[x](http://y)"})
    card = model_card("m", SimpleNamespace(info=SimpleNamespace(run_id="r"), data=data), "s", {}, {})
    assert r"| a | 1 \| 2 # big |" in card and r"\[x\](http://y)" in card and "<img" not in card


def test_a_card_names_the_origins_of_weights_in_any_room_of_the_folder(tmp_path):
    """What a configuration says is somebody's text: it stays in its cell; another shape of it is no error."""
    (tmp_path / "encoder").mkdir()
    facts = {"source": "package x", "licence": "Apache-2.0 | <b>"}
    (tmp_path / "encoder/config.json").write_text(json.dumps({"origins": {"image tower": facts}}))
    for other in ([1], {"origins": [1]}, {"origins": {"text tower": 3}}):
        (tmp_path / "config.json").write_text(json.dumps(other))
        origins = weights_origins(tmp_path)
        assert origins == {"image tower": "source: package x; licence: Apache-2.0 | <b>"}
    data = SimpleNamespace(tags={}, metrics={}, params={})
    card = model_card("m", SimpleNamespace(info=SimpleNamespace(run_id="r"), data=data), "s", {}, origins)
    assert r"| image tower | source: package x; licence: Apache-2.0 \| &lt;b> |" in card


def test_a_card_names_no_random_weights_and_every_part_of_several_models(tmp_path):
    drawn, ours, theirs = ({"source": s} for s in ("random", "package x", "file y"))
    parts = {"a": {"image": ours, "text": drawn}, "b": {"image": ours}, "c": {"image": theirs, "text": ours}}
    for folder, origins in parts.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_text(json.dumps({"origins": origins}))
    assert weights_origins(tmp_path) == {
        "image": "source: package x",
        "image (c)": "source: file y",
        "text": "source: package x",
    }


def test_a_path_to_the_parent_folder_is_not_a_profile(trained):
    shutil.copy(trained.root / "metrics/encoder.json", trained.root / "x.json")
    with pytest.raises(UnknownReferenceError):
        side_of(trained.root, "profile:..")


def test_names_in_a_comparison_are_printed_literally():
    figure = Interval(value=0.5, n=1)
    test = PairedDifference("[/b]", "[/t]", "[/v]", "", "[/m]", "", 0.5, 0.4, 0.1, -0.1, 0.2, 0.5, 4, 1, 2)
    groups = [SeedGroup(name, (Side(name, "run"),), {}) for name in ("[/a]", "[/b]")]
    found = Comparison(groups, ["[/c]", "[/d]"], tests=[test])
    found.rows = [FigureRow("[/t]", "[/v]", "[/m]", (figure, None), (test,), (None, None))]
    shown = Console(width=200, record=True, file=StringIO())
    show(found, shown)
    text = shown.export_text()
    assert all(name in text for name in ("[/a]", "[/b]", "[/d]", "[/t]", "[/v]", "[/m]"))
