"""The command ``vitrine``.

Heavy libraries are imported by the commands that need them, so that ``vitrine --help`` answers at once.
"""

from __future__ import annotations

import inspect
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console

from components.stage.errors import VitrineError
from components.stage.files.printable import printable
from components.stage.resources.full_disk import DISK_FULL, of_full_disk
from flows.errors import SelectionError
from flows.options import Count, Json, Product, Profile, RunRequest, Where, words
from flows.run import FLOW_THREAD

app = typer.Typer(
    help="Train, compare, guard and ship the vision-language models of an online shop.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
OPEN = {"allow_extra_args": True, "ignore_unknown_options": True}  # whoever answers knows the rest
SYSTEMS = "bm25, hybrid, hybrid_image, hybrid_image_type, encoder, fusion or a network of it"
NEWLINES = "\n\t"
INTERRUPTED = "interrupted; finished stages are kept, and the next run goes on from there."


def console() -> Console:
    """The terminal; 100 columns where its width is not known."""
    out = Console(soft_wrap=False)
    return out if out.is_terminal else Console(width=100)


def workspace() -> Path:
    """Root of the workspace we stand in."""
    from flows.workspace import find_workspace

    return find_workspace(Path.cwd())


def _passed_on(module: str, *arguments: str, profile: str | None = None) -> None:
    """Hand a command on to a component's own process, in the workspace or in a profile's worktree."""
    from flows.importing import passed_on
    from flows.profiles import worktree_path

    root = workspace()
    have = sorted(file.parent.name for file in worktree_path(root, "any").parent.glob("*/dvc.yaml"))
    if profile is not None and profile not in have:
        others = f" ({', '.join(have)} did)" if have else ""
        raise SelectionError(f"Profile '{profile}' has not run here{others}: vitrine run --profile {profile}")
    if profile is not None:
        root = worktree_path(root, profile)
    elif have and module != "components.tracking" and not (root / "models").exists():
        raise SelectionError(f"Nothing was trained in {root} itself; ask with --profile {' or '.join(have)}.")
    passed_on(root, [sys.executable, "-m", module, *arguments])


@app.command()
def run(**options: Any) -> None:
    """Bring the graph, or one system of it, up to date."""
    from flows.run.command import run as start

    start(workspace(), RunRequest(**options), console())


run.__signature__, run.__annotations__ = inspect.signature(RunRequest), RunRequest.__annotations__  # type: ignore[attr-defined]


@app.command()
def verify(
    commit: Annotated[str, typer.Argument(help="Commit, branch or tag to compare with.")] = "HEAD",
    first_run: Annotated[bool, typer.Option("--run", help="Bring the graph up to date first.")] = False,
    as_json: Json = False,
) -> None:
    """Compare figures and outputs with those committed; exit code 1 when one lies outside its interval."""
    if first_run:
        from flows.run.command import run as start

        start(workspace(), RunRequest(), Console(stderr=True))
    _passed_on("components.tracking", "verify", *words(json=as_json), "--", commit)


@app.command()
def params(
    block: Annotated[str | None, typer.Argument(help="Such as encoder or encoder.training.")] = None,
    profile: Annotated[str | None, typer.Option(help="Profile of conf/ laid on params.yaml.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="block.key=value. Repeatable.")] = None,
    as_json: Json = False,
) -> None:
    """List the parameters: value, unit and reason, and what differs from the default."""
    from components.parameters.listing import print_parameters, resolved

    print_parameters(console(), resolved(workspace(), profile, tuple(overrides or ())), block, as_json)


@app.command(name="import")
def import_(
    source: Annotated[Path, typer.Argument(exists=True, help="Folder or file of the catalogue.")],
    *,
    mapping: Annotated[Path | None, typer.Option(exists=True, help="Which field is what.")] = None,
    profile: Profile = None,
    link: Annotated[bool, typer.Option("--link", help="Hard-link files instead of copying.")] = False,
    looking: Annotated[bool, typer.Option("--inspect", help="Only write a mapping and profile.")] = False,
    force: Annotated[bool, typer.Option("--force", help="With --inspect: replace both.")] = False,
) -> None:
    """Bring in a catalogue of your own, with pictures, from JSON, CSV, TSV, XML or Parquet."""
    from flows.importing import ImportRequest, import_source, inspect_source

    if looking:
        inspect_source(workspace(), source, profile, force, console())
    elif mapping is None:
        raise SelectionError("Give --mapping FILE, or --inspect to have one written.")
    else:
        import_source(workspace(), ImportRequest(source, mapping, link), profile, console())


@app.command()
def search(
    text: Annotated[list[str] | None, typer.Argument(help="What is looked for.")] = None,
    *,
    image: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="A picture.")] = None,
    weights: Annotated[str | None, typer.Option(help="Of both: text=0.6,image=0.4.")] = None,
    where: Where = None,
    system: Annotated[str | None, typer.Option(help=f"{SYSTEMS}; default: the best on validation.")] = None,
    k: Count = 10,
    profile: Profile = None,
    as_json: Json = False,
) -> None:
    """Find products by TEXT, by a picture, or both ("but navy" --image photo.jpg)."""
    if image is None and not text:
        raise SelectionError('Nothing to search for: give a text ("red dress"), --image FILE, or both.')
    picture = image and image.resolve()
    options = words(k=k, image=picture, weights=weights, where=where, system=system, json=as_json)
    _passed_on("components.search", *options, "--", *[" ".join(text or ())] * bool(text), profile=profile)


@app.command()
def similar(
    product: Product, where: Where = None, k: Count = 10, profile: Profile = None, as_json: Json = False
) -> None:
    """Find products that look like the one with this id."""
    _passed_on("components.search", *words(like=product, k=k, where=where, json=as_json), profile=profile)


TRACKER = {
    "sync": "Record in MLflow what a bare `dvc repro` ran, or what waited for a tracker that was down.",
    "compare": "Compare runs, models, profiles or commits: what differs, with tests, as a page.",
    "lineage": "Trace a run back to commit, data and the runs before it.",
    "register": "Register the models as safetensors, with a model card and an alias each.",
    "promote": "Point an alias of a registered model at a version.",
}


def _ask_tracker(name: str, about: str) -> None:
    """A command of the tracker: its own parser knows its arguments and tells them at ``--help``."""

    @app.command(name, help=about, add_help_option=False, context_settings=OPEN)
    def _command(context: typer.Context, profile: Profile = None) -> None:
        _passed_on("components.tracking", name, *context.args, profile=profile)


for _name, _about in TRACKER.items():
    _ask_tracker(_name, _about)


@app.command()
def describe(
    photo: Annotated[Path, typer.Argument(exists=True, help="A photo, or a folder of photos.")],
    *,
    category: Annotated[str, typer.Option(help="Category of the photo, or of all in the folder.")],
    out: Annotated[Path | None, typer.Option(help="For a folder: where listings and page go.")] = None,
    precision: Annotated[float | None, typer.Option(min=0, max=1, help="Share of right values.")] = None,
    completion: Annotated[float | None, typer.Option(min=0, max=1, help="Or share of filled fields.")] = None,
    profile: Profile = None,
) -> None:
    """Write a listing from a photo: title and attributes that obey the category's schema."""
    options = words(category=category, precision=precision, completion=completion, out=out and out.resolve())
    _passed_on("components.opal.describe", *options, "--", str(photo.resolve()), profile=profile)


@app.command()
def gc(
    caches: Annotated[bool, typer.Option("--cache", help="Also the caches in .vitrine/cache.")] = False,
    days: Annotated[float, typer.Option(min=0, help="Age in days of old logs, states and overrides.")] = 14.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go; delete nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also what no commit and no remote holds.")] = False,
) -> None:
    """Free disk space: delete what no branch needs and what can be had again.

    It deletes logs and resume state older than --days; worktrees and branches of 'run --set' that nobody
    has used for so long, if git and a remote or another branch hold all in them; objects of DVC's cache that
    no working tree, branch or tag needs, if a remote holds them or a commit says how to compute them; what
    a killed run has left at the git remote for a runner. What is held nowhere else is listed and kept;
    --force deletes it too, and that is final. A profile's worktree and branch are never touched.
    """
    from flows.garbage import Cleaning, collect

    collect(workspace(), Cleaning(caches, days, dry_run, force), console())


@app.command()
def doctor(
    deep: Annotated[bool, typer.Option("--deep", help="Also run a Prefect flow (about 10 s).")] = False,
) -> None:
    """Check this machine and workspace for everything known to go wrong, and say how to fix it."""
    from flows.doctor import examine

    raise typer.Exit(examine(Path.cwd(), console(), deep))


def _on_signal(number: int, _: FrameType | None) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


def guarded(command: Callable[[], object]) -> int:
    """Run a command and turn its end into an exit code and, on failure, one sentence on standard error."""
    text, code = "", 0
    try:
        command()
    except SystemExit as end:  # typer's own: 2 for a usage error, 130 for a KeyboardInterrupt it has caught
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
        text = INTERRUPTED if code == 130 else ""
    except KeyboardInterrupt:
        text, code = INTERRUPTED, 130
    except VitrineError as error:
        silent = type(error).__name__ == "CommandFailedError"  # the started command has told its own error
        text, code = "" if silent else DISK_FULL if of_full_disk(error) else str(error), error.exit_code
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        text, code = DISK_FULL if of_full_disk(error) else f"{error.strerror or error}{where}", 1
    except Exception as error:
        if not of_full_disk(error):
            raise
        text, code = DISK_FULL, 1
    if text:
        print(f"error: {printable(text, NEWLINES)}", file=sys.stderr, flush=True)
    return code


def main() -> None:
    """Entry point of the console script."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup asks for that
            signal.signal(number, _on_signal)
    code = guarded(app)
    if any(thread.name == FLOW_THREAD for thread in threading.enumerate()):
        # Prefect still waits for a server that is gone, in threads that a plain exit would wait for
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
