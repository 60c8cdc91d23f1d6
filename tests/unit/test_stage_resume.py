"""Resume state is found again by exactly the work it was left by, and by no other."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from components.stage.resume import resume_folder, sha256_file, sha256_folder


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc" * 100_000)
    assert sha256_file(tmp_path / "x") == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_a_folders_hash_depends_on_names_and_bytes_only(tmp_path: Path) -> None:
    one = write(tmp_path / "one", {"a": b"1", "sub/b": b"2"})
    other = write(tmp_path / "elsewhere/two", {"sub/b": b"2", "a": b"1"})
    assert sha256_folder(one) == sha256_folder(other)


@pytest.mark.parametrize(
    "files",
    [
        {"a": b"1", "sub/b": b"3"},
        {"a": b"1", "sub/c": b"2"},
        {"a": b"1", "b": b"2"},
        {"a": b"2", "sub/b": b"1"},
        {"a": b"1"},
        {"a": b"1", "sub/b": b"2", "c": b""},
    ],
)
def test_a_folders_hash_changes_with_any_byte_name_or_file(tmp_path: Path, files: dict[str, bytes]) -> None:
    whole = write(tmp_path / "whole", {"a": b"1", "sub/b": b"2"})
    assert sha256_folder(write(tmp_path / "changed", files)) != sha256_folder(whole)


def test_the_same_work_finds_its_state_and_other_work_removes_it(tmp_path: Path) -> None:
    mine = resume_folder("encoder", ["parameters", "inputs"], tmp_path)
    neighbour = resume_folder("vlclip@full", ["parameters", "inputs"], tmp_path)
    (mine / "state.pt").write_text("half way")
    again = resume_folder("encoder", ["parameters", "inputs"], tmp_path)
    assert again == mine and (again / "state.pt").read_text() == "half way"
    changed = resume_folder("encoder", ["parameters", "other inputs"], tmp_path)
    assert changed != mine and not mine.exists() and not list(changed.iterdir())
    assert neighbour.is_dir(), "another stage's state is none of our business"


def test_the_key_depends_on_where_its_parts_begin_and_end(tmp_path: Path) -> None:
    first = resume_folder("s", ["ab", "c"], tmp_path)
    assert resume_folder("s", ["a", "bc"], tmp_path) != first
