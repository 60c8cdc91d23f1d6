"""dvc.lock and the cache read the way DVC writes them."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from components.tracking.errors import LockFileError
from components.tracking.lineage.lockfile import (
    LockEntry,
    Output,
    cache_folder,
    disagreement,
    file_md5,
    located,
    parse_lock,
    read_lock,
    tree_md5,
)


def test_hash_of_a_folder_is_dvcs_own(tmp_path):
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.db import HashFileDB
    from dvc_objects.fs.local import LocalFileSystem

    fs = LocalFileSystem()
    folder = tmp_path / "out"
    for name, content in (("b/c.bin", b"1"), ("a.txt", "é".encode()), ("b-x", b""), ("ü", b"2")):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    _, _, whole = build(HashFileDB(fs, str(tmp_path / "db")), str(folder), fs, "md5", dry_run=True)
    assert tree_md5(folder) == whole.hash_info.value
    _, _, single = build(HashFileDB(fs, str(tmp_path / "db")), str(folder / "a.txt"), fs, "md5", dry_run=True)
    assert tree_md5(folder / "a.txt") == single.hash_info.value


@pytest.mark.parametrize(
    "text", ["<<<<<<< HEAD\n", "[1, 2]", "stages: 3", "stages: {a: 3}", "stages: {a: {outs: [1]}}", "a: b: c"]
)
def test_broken_lock_is_refused_by_name(text):
    with pytest.raises(LockFileError, match=r"dvc\.lock"):
        parse_lock(text)


def test_stages_of_studies_have_dvcs_names(tmp_path):
    (tmp_path / "studies").mkdir()
    for folder in (tmp_path, tmp_path / "studies"):
        (folder / "dvc.lock").write_text(
            yaml.safe_dump({"schema": "2.0", "stages": {"train@a": {"cmd": "x"}}})
        )
    assert set(read_lock(tmp_path)) == {"train@a", "studies/dvc.yaml:train@a"}


@settings(deadline=None)  # the clock of a busy machine says nothing here
@given(
    st.dictionaries(st.text(min_size=1), st.one_of(st.integers(), st.text(), st.none()), max_size=4),
    st.text(),
)
def test_digest_depends_on_contents_alone(params, cmd):
    one = LockEntry(cmd=cmd, params={"params.yaml": params})
    other = LockEntry.model_validate_json(one.model_dump_json())
    assert one.digest() == other.digest()
    assert one.digest() != LockEntry(cmd=cmd + "x", params={"params.yaml": params}).digest()


def test_cache_is_where_the_configuration_says(tmp_path):
    assert cache_folder(tmp_path) == tmp_path / ".dvc/cache"
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text(
        "[core]\n    remote = x\n['remote \"x\"']\n    url = /r\n[cache]\n    dir = ../a\n"
    )
    assert cache_folder(tmp_path) == tmp_path / "a"
    (tmp_path / ".dvc/config.local").write_text("[cache]\n    dir = /elsewhere/cache\n")
    assert str(cache_folder(tmp_path)) == "/elsewhere/cache"


def test_file_is_found_by_its_hash_not_by_its_name(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text("old")
    recorded = Output(path="metrics.json", md5=file_md5(path), size=3)
    assert located(tmp_path, recorded) == {"metrics.json": path}
    cached = tmp_path / ".dvc/cache/files/md5" / recorded.md5[:2] / recorded.md5[2:]
    cached.parent.mkdir(parents=True)
    path.rename(cached)
    path.write_text("new")
    assert located(tmp_path, recorded) == {"metrics.json": cached}
    cached.unlink()
    assert located(tmp_path, recorded) == {}


def test_sizes_are_compared_always_and_contents_when_the_lock_is_older(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a").write_text("one")
    entry = LockEntry(outs=(Output(path="out", md5=tree_md5(tmp_path / "out"), size=3, nfiles=1),))
    (tmp_path / "dvc.lock").write_text("")
    before, after = 0.0, (tmp_path / "dvc.lock").stat().st_mtime + 1
    assert disagreement(tmp_path, "make", entry, after) == ""
    (tmp_path / "out/a").write_text("two")
    assert disagreement(tmp_path, "make", entry, before) == ""
    assert "out" in disagreement(tmp_path, "make", entry, after)
    (tmp_path / "out/a").write_text("longer")
    assert "out" in disagreement(tmp_path, "make", entry, before)
