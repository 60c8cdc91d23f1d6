"""Tables for docs: every figure of the metrics files, and nothing else."""

from __future__ import annotations

import json

from conftest import Workspace

from components.report.text.markdown import tables


def test_every_figure_and_test_is_in_the_tables(workspace: Workspace) -> None:
    text = tables(workspace.root / "metrics")
    assert "## encoder" in text
    assert "0.610 [0.580, 0.640]" in text and "0.400 [0.370, 0.430]" in text
    assert "| `pointing` |" in text and "–" in text
    assert "| `mrr`: fine_tuned − colour_histogram | +0.010 [-0.020, +0.040] | < 0.001 | 1,050 |" in text


def test_the_folder_of_a_profile_holds_files_without_intervals(workspace: Workspace) -> None:
    folder = workspace.root / "metrics"
    before = tables(folder)
    (folder / "run.json").write_text('{"profile": "fashion", "dirty": false}')
    (folder / "ground.json").write_text('{"dense_head": {}, "_tests": []}')  # no true boxes
    assert tables(folder) == before


def test_a_study_is_asked_for_by_its_file_and_shows_its_claims(workspace: Workspace) -> None:
    folder = workspace.root / "metrics"
    before = tables(folder)
    test = {"metric": "mrr", "a": "full_43", "b": "raw_43", "difference": 0.02, "low": 0.01, "high": 0.03}
    study = {
        "full_43": {"mrr": {"value": 0.2, "low": 0.1, "high": 0.3, "n": 1050}},
        "_tests": [{**test, "p": 0.001, "n": 1050, "claim": "full > raw", "seed": "43"}],
    }
    (folder / "study_vlclip.json").write_text(json.dumps(study))
    assert tables(folder) == before
    text = tables(folder / "study_vlclip.json")
    assert "| full > raw | `mrr` | 43 | +0.020 [+0.010, +0.030] | 1,050 |" in text
    assert "0.200 [0.100, 0.300]" in text
