"""The stages of a workspace one after the other, each forked from a process that has loaded the libraries.

``python -m benchmarks.catalogues.stages WORKSPACE`` makes the outputs that ``vitrine run`` makes there,
without DVC's cache, Prefect and MLflow. Of a small catalogue most of the time goes into loading libraries,
for each stage anew; here they are loaded once.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

LIBRARIES = ("torch", "transformers", "timm", "open_clip", "great_expectations", "pandas", "faiss")
IN_ORDER = """
import json, sys
import networkx as nx
from dvc.repo import Repo
with Repo(sys.argv[1]) as repo:
    names = {stage.addressing: n for n, stage in enumerate(repo.index.stages)}
    graph = repo.index.graph.reverse()  # what is read comes first
    order = nx.lexicographical_topological_sort(graph, key=lambda stage: names.get(stage.addressing, 0))
    print(json.dumps([(s.addressing, s.cmd) for s in order if s.cmd and "studies" not in s.addressing]))
"""


def commands(root: Path) -> list[tuple[str, str]]:
    """Names and commands of the stages of dvc.yaml, each after those that it reads from."""
    asked = [sys.executable, "-c", IN_ORDER, str(root)]
    found = subprocess.run(asked, cwd=root, capture_output=True, text=True, check=True)
    return [(name, command) for name, command in json.loads(found.stdout.splitlines()[-1])]


def forked(name: str, words: Sequence[str]) -> int:
    """The exit code of a stage that has run in a fork of this process."""
    from components.stage.frame import main as stage

    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.environ["DVC_STAGE"] = name
        code = stage(words)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(argv: Sequence[str]) -> int:
    """Run every stage; the exit code of the first that fails."""
    root = Path(argv[0]).resolve()
    todo = commands(root)
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.freeze()  # no fork copies what is only counted again
    os.chdir(root)
    for name, command in todo:
        if code := forked(name, command.split("components.stage ", 1)[1].split()):
            print(f"error: stage {name} ended with exit code {code}.")
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
