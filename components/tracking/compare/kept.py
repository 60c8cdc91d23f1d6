"""The metrics of a profile, kept in ``results/<profile>/``, where comparisons find them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from components.stage.files.publish import write_text
from components.tracking.lineage.revision import revision


def keep_results(root: Path, work: Path, profile: str) -> Path:
    """Copy the metrics of a profile's worktree to ``results/<profile>/`` of ``root``; returns that folder.

    ``run.json`` says what they were computed from: commit, whether the code differed from it, and the hashes
    of parameters and dvc.lock. No clock, no host.
    """
    folder = root / "results" / profile
    folder.mkdir(parents=True, exist_ok=True)
    found = sorted((work / "metrics").glob("*.json"))
    for stale in set(folder.glob("*.json")) - {folder / path.name for path in found}:
        stale.unlink()
    for path in found:
        write_text(folder / path.name, path.read_text(encoding="utf-8"))
    code = revision(root)
    facts = {
        "profile": profile,
        "commit": code.commit,
        "dirty": code.dirty,
        "params_sha256": _sha256(work / "params.yaml"),
        "lock_sha256": _sha256(work / "dvc.lock"),
    }
    write_text(folder / "run.json", json.dumps(facts, indent=1, sort_keys=True) + "\n")
    return folder


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""
