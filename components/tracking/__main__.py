"""``python -m components.tracking COMMAND``: what people ask the tracker for. No stage of the graph."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.stage.arguments import Parser
from components.stage.errors import VitrineError
from components.stage.frame import explain
from components.tracking.errors import UnknownReferenceError

HERE = Path()
SAMPLES = 2000  # of the bootstrap: p down to 0.001, and thousands of tests in seconds
PROFILE = "With --profile NAME: in the worktree of that profile."
OF_SCRIPTS = ("path", "clean", "ui")  # no commands of ``vitrine``
FORCE = "also under a name or alias that holds models of another catalogue; the version is marked"


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

    def _paired(a: Any, b: Any, groups: Sequence[str] | None) -> Any:
        return paired_bootstrap(a, b, arguments.seed, SAMPLES, groups)

    wanted = Wanted(_paired, arguments.force, arguments.apart)
    found = compare(HERE, [arguments.a, *arguments.others], wanted)
    page = arguments.page
    if page is None and not arguments.json:
        page = page_path(HERE, found)
    if page is not None:
        write_page(found, page)
    if arguments.json:
        print(json.dumps(found.as_json(), indent=1, allow_nan=False))
    else:
        from rich.console import Console

        from components.tracking.compare.view import show

        show(found, Console(), str(page or ""))
    if page is not None:
        _log_page(page, [side for group in found.groups for side in group.members])
    return 0


def _log_page(page: Path, sides: Sequence[Any]) -> None:
    """Keep the page in MLflow with the runs that it is about; a store that is down costs a warning."""
    from components.tracking.compare.recorded import log_page

    try:
        logged = log_page(HERE.resolve(), page, sides)
    except VitrineError as error:
        print(f"warning: the page was not logged in MLflow: {error}", file=sys.stderr)
        return
    if logged:
        print(f"Logged with {len(logged)} MLflow runs.", file=sys.stderr)


def _verify(arguments: argparse.Namespace) -> int:
    from components.tracking.compare.committed import print_verification, verify

    found = verify(HERE, arguments.commit)
    if arguments.json:
        print(json.dumps(found.as_dict(), indent=1, allow_nan=False))
    else:
        from rich.console import Console

        print_verification(Console(), found)
    return int(bool(found.wrong))


def _lineage(arguments: argparse.Namespace) -> int:
    from components.tracking.lineage.lineage import lineage, tree

    found = lineage(HERE, arguments.run)
    if arguments.json:
        print(json.dumps(found.as_json(), indent=1))
        return 0
    from rich.console import Console

    Console().print(tree(found))
    return 0


def _register(arguments: argparse.Namespace) -> int:
    from components.tracking.publish.publish import tracking_params
    from components.tracking.registry.names import chosen_models
    from components.tracking.registry.registry import register

    known = tracking_params(HERE.resolve()).models
    if arguments.folder is not None and len(arguments.names) != 1:
        raise UnknownReferenceError("--folder needs exactly one NAME, under which it is registered.")
    models = (
        {arguments.names[0]: arguments.folder}
        if arguments.folder is not None
        else chosen_models(HERE, known, arguments.names)
    )
    for name, folder in models.items():
        made = register(HERE, name, folder, arguments.alias, arguments.run, force=arguments.force)
        alias = f", alias {made.alias}" if made.alias else ""
        print(f"{made.name} version {made.version} from run {made.run_id}{alias}.")
    return 0


def _promote(arguments: argparse.Namespace) -> int:
    from components.tracking.registry.registry import promote

    now, before = promote(HERE, arguments.name, arguments.version, arguments.alias, force=arguments.force)
    print(
        f"{arguments.name}@{arguments.alias} is now version {now}"
        + (f" (before: version {before})." if before else ".")
    )
    return 0


def _path(arguments: argparse.Namespace) -> int:
    from components.tracking.registry.fetch import load_path

    print(load_path(HERE, arguments.name, arguments.alias))
    return 0


def _clean(arguments: argparse.Namespace) -> int:
    from components.tracking.publish.pending import clean

    cleaned = clean(HERE, arguments.days)
    print(f"{cleaned.records} published records and {cleaned.orphans} marks without a record removed.")
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
        prog = None if name in OF_SCRIPTS else f"vitrine {name}"
        epilog = None if name in OF_SCRIPTS else PROFILE
        sub = commands.add_parser(name, help=about, description=about, prog=prog, epilog=epilog)
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
    sub.add_argument("--json", action="store_true", help="print everything for machines")
    sub = _command("verify", _verify, "compare figures and outputs with those committed")
    sub.add_argument("commit", nargs="?", default="HEAD", help="commit, branch or tag")
    sub.add_argument("--json", action="store_true", help="print everything for machines")
    sub = _command("lineage", _lineage, "what a run was made from, and which models came from it")
    sub.add_argument("run", help="id of a stage run or pipeline run; its first characters are enough")
    sub.add_argument("--json", action="store_true", help="print everything for machines")
    sub = _command("register", _register, "register models and give them an alias")
    sub.add_argument("names", nargs="*", metavar="NAME", help="of tracking.models; default: all made here")
    sub.add_argument("--folder", type=Path, help="register this folder under the one NAME given")
    sub.add_argument("--alias", default="challenger", help="default: challenger")
    sub.add_argument("--run", help="the run that made the folder; default: found by its hash")
    sub.add_argument("--force", action="store_true", help=FORCE)
    sub = _command("promote", _promote, "point an alias at a version")
    sub.add_argument("name", help="of a registered model, such as vlclip")
    sub.add_argument(
        "version", nargs="?", default="challenger", help="a number, or an alias (default: challenger)"
    )
    sub.add_argument("alias", nargs="?", default="champion", help="default: champion")
    sub.add_argument("--force", action="store_true", help=FORCE)
    sub = _command("path", _path, "print a local folder with a registered model")
    sub.add_argument("name")
    sub.add_argument("alias")
    sub = _command("clean", _clean, "remove old published records and orphaned marks")
    sub.add_argument("--days", type=float, default=30.0, help="keep records younger than this")
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
        if not isinstance(error, VitrineError):
            sentence = " ".join(sentence.split())
        print(f"error: {sentence}", file=sys.stderr)
        return code


if __name__ == "__main__":
    raise SystemExit(main())
