"""Only allow-listed, honest model folders become versions, and come back as they went in."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from components.tracking.errors import ModelFolderError, UnknownReferenceError
from components.tracking.publish.publish import publish
from components.tracking.registry.model_folder import checked_files, content_hash
from components.tracking.registry.registry import load_path, promote, register
from components.tracking.store import connect, store_of

MODEL = Path("models/encoder")


@pytest.fixture(scope="module")
def trained(new_workspace):
    workspace = new_workspace()
    records = workspace.pipeline(parent="p1")
    workspace.run_id = publish(workspace.root).published[records["encoder"].id]
    return workspace


def test_registered_model_comes_back_whole_with_its_card(trained):
    made = register(trained.root, "encoder", MODEL, "challenger")
    assert (made.version, made.run_id) == ("1", trained.run_id)
    folder = load_path(trained.root, "encoder", "challenger")
    assert list(load_file(folder / "model.safetensors")) == ["w"]
    for path in (trained.root / MODEL).iterdir():
        assert (folder / path.name).read_bytes() == path.read_bytes()
    card = (folder / "README.md").read_text()
    for fact in (trained.git("rev-parse", "HEAD"), trained.run_id, "encoder.lr", "last_loss", "data/catalog"):
        assert fact in card
    assert {p.name for p in folder.iterdir()} == {"config.json", "model.safetensors", "README.md"}


def test_the_same_model_keeps_its_version_and_promotion_moves_an_alias_to_another(workspace):
    workspace.pipeline(parent="p1")
    publish(workspace.root)
    register(workspace.root, "encoder", MODEL, "challenger")
    assert register(workspace.root, "encoder", MODEL, "other").version == "1"
    assert promote(workspace.root, "encoder", "challenger", "champion") == ("1", "")
    workspace.pipeline(parent="p2", seed=1)
    publish(workspace.root)
    assert register(workspace.root, "encoder", MODEL, "challenger").version == "2"
    first, second = (load_path(workspace.root, "encoder", alias) for alias in ("other", "challenger"))
    assert (first / "model.safetensors").read_bytes() != (second / "model.safetensors").read_bytes()
    assert promote(workspace.root, "encoder", "2", "champion") == ("2", "1")
    assert load_path(workspace.root, "encoder", "champion") == second


def in_catalogue(workspace, name, seed):
    text = (workspace.root / "params.yaml").read_text().split("report:")[0]
    workspace.write("params.yaml", f"{text}report: {{profile: {name}}}\n")
    workspace.pipeline(parent=name, seed=seed)
    publish(workspace.root)


def test_registered_names_carry_their_catalogue_and_point_to_the_logged_model(workspace):
    in_catalogue(workspace, "fashion", 0)
    made = register(workspace.root, "encoder", MODEL, "challenger")
    assert made.name == "vitrine-fashion-encoder"
    client = connect(store_of(workspace.root))
    version = client.get_model_version(made.name, made.version)
    model = client.get_logged_model(version.source.removeprefix("models:/"))
    assert model.name == "fashion-encoder" and model.source_run_id == version.run_id
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": made.name, "version": 1}]
    assert "MLFLOW_TRACKING_URI" not in os.environ
    in_catalogue(workspace, "shoes", 1)
    assert register(workspace.root, "encoder", MODEL, "champion").name == "vitrine-shoes-encoder"
    assert load_path(workspace.root, "encoder", "champion").is_dir()


def test_two_catalogues_under_one_name_are_refused_or_forced_and_marked(workspace):
    in_catalogue(workspace, "fashion", 0)
    register(workspace.root, "ours", MODEL, "champion")
    in_catalogue(workspace, "shoes", 1)
    with pytest.raises(UnknownReferenceError, match=r"'fashion', this model of 'shoes'.*--force"):
        register(workspace.root, "ours", MODEL, "challenger")
    register(workspace.root, "ours", MODEL, "challenger", force=True)
    with pytest.raises(UnknownReferenceError, match=r"'fashion', this model of 'shoes'.*--force"):
        promote(workspace.root, "ours", "challenger", "champion")
    assert promote(workspace.root, "ours", "challenger", "champion", force=True) == ("2", "1")
    tags = connect(store_of(workspace.root)).get_model_version("ours", "2").tags
    assert "'shoes'" in tags["vitrine.forced"]


def test_folder_that_the_run_did_not_make_is_refused(trained):
    config = trained.root / MODEL / "config.json"
    before = config.read_text()
    config.write_text('{"edited": true}')
    try:
        with pytest.raises(UnknownReferenceError, match="No recorded run made"):
            register(trained.root, "encoder", MODEL, "challenger")
        with pytest.raises(ModelFolderError, match="is not what run"):
            register(trained.root, "encoder", MODEL, "challenger", trained.run_id)
    finally:
        config.write_text(before)


def test_unknown_names_are_refused_by_name(trained):
    register(trained.root, "encoder", MODEL, "challenger")
    for call in (
        lambda root: load_path(root, "encoder", "champion"),
        lambda root: load_path(root, "nothing", "champion"),
        lambda root: promote(root, "encoder", "7", "champion"),
        lambda root: promote(root, "encoder", "1", "latest"),
        lambda root: register(root, "encoder", MODEL, "bad alias!"),
        lambda root: register(root, "encoder", MODEL, "a", "ffffffff"),
    ):
        with pytest.raises(UnknownReferenceError):
            call(trained.root)
    with pytest.raises(UnknownReferenceError, match="`vitrine register` makes versions"):
        promote(trained.root, "nothing", "1", "champion")


def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    (folder / "config.json").write_text("{}")
    return folder


def test_tokenizer_files_and_subfolders_pass(tmp_path):
    folder = model(tmp_path)
    (folder / "merges.txt").write_text("a b")
    (folder / "text").mkdir()
    (folder / "text/tokenizer.json").write_text("{}")
    assert set(checked_files(folder)) == {
        "config.json",
        "model.safetensors",
        "merges.txt",
        "text/tokenizer.json",
    }


@pytest.mark.parametrize(
    "name",
    [
        "model.pt",
        "optimizer.bin",
        "model.pkl",
        "model.ckpt",
        "code.py",
        ".hidden.json",
        "notes.txt",
        "a.JSON5",
    ],
)
def test_files_off_the_list_are_refused(tmp_path, name):
    folder = model(tmp_path)
    (folder / name).write_bytes(b"{}")
    with pytest.raises(ModelFolderError, match="may not be registered"):
        checked_files(folder)


def test_disguised_cut_and_broken_files_are_refused(tmp_path):
    whole = (model(tmp_path) / "model.safetensors").read_bytes()
    huge = (1 << 60).to_bytes(8, "little") + whole[8:]
    for content in (
        pickle.dumps({"w": 1}),
        b"",
        whole[:-1],
        whole + b"x",
        huge,
        whole[:8] + b"[1]" + whole[11:],
    ):
        (tmp_path / "model/model.safetensors").write_bytes(content)
        with pytest.raises(ModelFolderError, match="not a safetensors file"):
            checked_files(tmp_path / "model")


def test_links_and_incomplete_folders_are_refused(tmp_path):
    folder = model(tmp_path)
    (folder / "vocab.txt").symlink_to("/etc/passwd")
    with pytest.raises(ModelFolderError, match="symbolic link"):
        checked_files(folder)
    (folder / "vocab.txt").unlink()
    (folder / "loop").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(ModelFolderError, match="symbolic link"):
        checked_files(folder)
    (folder / "loop").unlink()
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelFolderError, match="not valid JSON"):
        checked_files(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ModelFolderError, match="not a complete model"):
        checked_files(folder)
    with pytest.raises(ModelFolderError, match="not a model folder"):
        checked_files(tmp_path / "nothing")


def test_hash_is_of_the_model_not_of_its_card(tmp_path):
    folder = model(tmp_path)
    before = content_hash(checked_files(folder))
    (folder / "README.md").write_text("card")
    assert content_hash(checked_files(folder)) == before
    (folder / "config.json").write_text("{ }")
    assert content_hash(checked_files(folder)) != before
