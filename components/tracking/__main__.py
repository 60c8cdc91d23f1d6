"""``python -m components.tracking COMMAND``: what people ask the tracker for. No stage of the graph."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from components.stage.arguments import Parser
from components.stage.errors import VitrineError
from components.stage.frame import explain
from components.tracking.errors import UnknownReferenceError

HERE = Path()
SAMPLES = 2000  # of the bootstrap: p down to 0.001, and thousands of tests in seconds
PROFILE = "With --profile NAME: in the worktree of that profile."
OF_SCRIPTS = ("path", "ui")  # no commands of ``vitrine``
FORCE = "also under a name or alias that holds models of another catalogue; the version is marked"
JSON = "print everything for machines"


def _console() -> Any:
    from rich.console import Console

    return Console()


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=1, allow_nan=False))


def _sync(arguments: argparse.Namespace) -> int:
    from components.tracking.publish.publish import publish

    result = publish(HERE)
    for warning in result.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if result.published or result.linked:
        print(f"{len(result.published)} stage runs recorded, {len(result.linked)} cached stages linked.")
    elif not result.waiting:
        print("Everything is recorded already.")
    if result.waiting:
        waiting = f"{result.waiting} records are not published yet; they wait in .vitrine/records/."
        print(waiting, file=sys.stderr)
    return 1 if result.waiting or result.warnings else 0


def _compare(arguments: argparse.Namespace) -> int:
    from components.retrieval.significance import paired_bootstrap
    from components.tracking.compare.compare import Wanted, compare
    from components.tracking.compare.page import page_path, write_page
    from components.tracking.compare.recorded import log_page
    from components.tracking.compare.view import show

    def _paired(a: Any, b: Any, groups: Sequence[str] | None) -> Any:
        return paired_bootstrap(a, b, arguments.seed, SAMPLES, groups)

    wanted = Wanted(_paired, arguments.force, arguments.apart)
    found = compare(HERE, [arguments.a, *arguments.others], wanted)
    page = arguments.page or (None if arguments.json else page_path(HERE, found))
    if page is not None:
        write_page(found, page)
    if arguments.json:
        _print_json(found.as_json())
    else:
        show(found, _console(), str(page or ""))
    if page is not None:
        try:  # kept with the runs that it is about; a store that is down costs a warning
            logged = log_page(
                HERE.resolve(), page, [side for group in found.groups for side in group.members]
            )
            if logged:
                print(f"Logged with {len(logged)} MLflow runs.", file=sys.stderr)
        except VitrineError as error:
            print(f"warning: the page was not logged in MLflow: {error}", file=sys.stderr)
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from components.tracking.compare.committed import print_verification, verify

    found = verify(HERE, arguments.commit)
    if arguments.json:
        _print_json(found.as_dict())
    else:
        print_verification(_console(), found)
    return int(bool(found.wrong))


def _lineage(arguments: argparse.Namespace) -> int:
    from components.tracking.lineage.lineage import lineage, tree

    found = lineage(HERE, arguments.run)
    if arguments.json:
        _print_json(asdict(found))
    else:
        _console().print(tree(found))
    return 0


def _register(arguments: argparse.Namespace) -> int:
    from components.tracking.publish.runs import tracking_params
    from components.tracking.registry.registry import chosen_models, register

    folder, names = arguments.folder, arguments.names
    if folder is not None and len(names) != 1:
        raise UnknownReferenceError("--folder needs exactly one NAME, under which it is registered.")
    known = tracking_params(HERE.resolve()).models
    models = chosen_models(HERE, known, names) if folder is None else {names[0]: folder}
    for name, place in models.items():
        made = register(HERE, name, place, arguments.alias, arguments.run, force=arguments.force)
        alias = f", alias {made.alias}" if made.alias else ""
        print(f"{made.name} version {made.version} from run {made.run_id}{alias}.")
    return 0


def _promote(arguments: argparse.Namespace) -> int:
    from components.tracking.registry.registry import promote

    now, before = promote(HERE, arguments.name, arguments.version, arguments.alias, force=arguments.force)
    was = f" (before: version {before})." if before else "."
    print(f"{arguments.name}@{arguments.alias} is now version {now}{was}")
    return 0


def _path(arguments: argparse.Namespace) -> int:
    from components.tracking.registry.registry import load_path

    print(load_path(HERE, arguments.name, arguments.alias))
    return 0


def _ui(arguments: argparse.Namespace) -> int:
    from components.tracking.store import front_page, ui_command

    command = ui_command(HERE, arguments.port)
    print(f"Open {front_page(f'http://127.0.0.1:{arguments.port}')}", file=sys.stderr)
    if not arguments.start:
        print(shlex.join(command))
        return 0
    # Seven job-queue processes beside the page would serve nothing here, and outlive a killed server.
    quiet = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return subprocess.run(command, env=quiet, check=False).returncode


def parser() -> Parser:
    """The arguments of the command."""
    top = Parser(prog="python -m components.tracking", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def _command(name: str, action: object, about: str) -> Parser:
        sub = commands.add_parser(name, help=about, description=about)
        if name not in OF_SCRIPTS:
            sub.prog, sub.epilog = f"vitrine {name}", PROFILE
        sub.set_defaults(action=action)
        return sub

    _command("sync", _sync, "record in MLflow what is not recorded yet")
    sub = _command("compare", _compare, "compare runs, models, profiles, commits, or . (the workspace)")
    sub.add_argument("a", metavar="A", help="the reference: run, NAME@ALIAS, profile, commit, or .")
    sub.add_argument("others", metavar="B", nargs="+", help="what is compared with it")
    sub.add_argument("--force", action="store_true", help="also different catalogues; the page says so")
    sub.add_argument("--apart", action="store_true", help="do not take sides that differ in seeds together")
    sub.add_argument("--page", type=Path, help="where the page goes; default: reports/compare/")
    sub.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    sub.add_argument("--json", action="store_true", help=JSON)
    sub = _command("verify", _verify, "compare figures and outputs with those committed")
    sub.add_argument("commit", nargs="?", default="HEAD", help="commit, branch or tag")
    sub.add_argument("--json", action="store_true", help=JSON)
    sub = _command("lineage", _lineage, "what a run was made from, and which models came from it")
    sub.add_argument("run", help="id of a stage run or pipeline run; its first characters are enough")
    sub.add_argument("--json", action="store_true", help=JSON)
    sub = _command("register", _register, "register models and give them an alias")
    sub.add_argument("names", nargs="*", metavar="NAME", help="of tracking.models; default: all made here")
    sub.add_argument("--folder", type=Path, help="register this folder under the one NAME given")
    sub.add_argument("--alias", default="challenger", help="default: challenger")
    sub.add_argument("--run", help="the run that made the folder; default: found by its hash")
    sub.add_argument("--force", action="store_true", help=FORCE)
    sub = _command("promote", _promote, "point an alias at a version")
    sub.add_argument("name", help="of a registered model, such as vlclip")
    which = "a number, or an alias (default: challenger)"
    sub.add_argument("version", nargs="?", default="challenger", help=which)
    sub.add_argument("alias", nargs="?", default="champion", help="default: champion")
    sub.add_argument("--force", action="store_true", help=FORCE)
    sub = _command("path", _path, "print a local folder with a registered model")
    sub.add_argument("name")
    sub.add_argument("alias")
    sub = _command("ui", _ui, "print the command that shows the recorded runs")
    sub.add_argument("--port", type=int, default=5000)
    sub.add_argument("--start", action="store_true", help="start it instead of printing it")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; errors become one sentence and an exit code (0 ok, 2, 4, 130 interrupted, 1 other)."""
    arguments = parser().parse_args(argv)
    try:
        return int(arguments.action(arguments))
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        sentence, code = explain(error)
        sentence = sentence if isinstance(error, VitrineError) else " ".join(sentence.split())
        print(f"error: {sentence}", file=sys.stderr)
        return code


if __name__ == "__main__":
    raise SystemExit(main())
