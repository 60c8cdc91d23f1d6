"""Options that several commands have, and those of ``vitrine run``, which typer reads from their dataclass.

Annotations are objects here, not text, for typer takes them from the dataclass's signature.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import typer

Profile = Annotated[str | None, typer.Option(help="Profile of conf/, run in a worktree of its own.")]
Json = Annotated[bool, typer.Option("--json", help="For machines.")]
Count = Annotated[int, typer.Option("--k", "-k", min=1, help="How many products.")]
Product = Annotated[str, typer.Argument(metavar="ID", help="Id of a product, as a search prints it.")]
Where = Annotated[list[str] | None, typer.Option(help='colour=navy or "price<=50". Repeatable.')]


def words(**options: Any) -> list[str]:
    """``k=3, where=["a=b"], json=True`` as ``--k=3 --where=a=b --json``; None and False are left out."""
    lists = {name: value if isinstance(value, list) else [value] for name, value in options.items()}
    told = ((name, one) for name, values in lists.items() for one in values if one is not None)
    return [f"--{name}" if one is True else f"--{name}={one}" for name, one in told if one is not False]


@dataclass(frozen=True)
class RunRequest:
    """What ``vitrine run`` shall bring up to date."""

    system: Annotated[str, typer.Argument(help="all, encoder, opal, fusion, vlclip, report, study.")] = "all"
    profile: Profile = None
    first: Annotated[str | None, typer.Option("--from", help="Only this stage and what follows.")] = None
    last: Annotated[str | None, typer.Option("--until", help="Only this stage and what it needs.")] = None
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="block.key=value; runs in a worktree of its own. Repeatable."),
    ] = None
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and why.")] = False
    lock_timeout_s: Annotated[
        float, typer.Option("--lock-timeout", min=0, help="Seconds to wait for another run to end.")
    ] = 600.0
