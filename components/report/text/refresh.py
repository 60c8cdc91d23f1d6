"""Tables in docs that come from the command beside them: ``python -m components.report refresh PAGE...``.

A page shows ``python -m components.report tables ...`` in a fenced block and keeps the output between the
lines ``<!-- tables -->`` and ``<!-- /tables -->``. The output of a pair is that of the commands in the block
nearest above it.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from components.report.errors import ReportInputError
from components.report.text.markdown import tables

COMMAND = "python -m components.report tables"
BLOCK = re.compile(r"^```sh\n(?P<commands>.*?)^```$", re.MULTILINE | re.DOTALL)
# No mark inside: after an empty pair the search would go on from the same place, to the end of the next pair.
OUTPUT = re.compile(
    r"(?<=^<!-- tables -->\n)(?:(?!<!-- ).)*?(?=^<!-- /tables -->$)", re.MULTILINE | re.DOTALL
)


def refreshed(page: str, root: Path) -> str:
    """The text of a page with its tables computed anew from the files below ``root``.

    Raises:
        ReportInputError: a pair of marks has no such command above it, or a file is not one of figures.
    """

    def _output(mark: re.Match[str]) -> str:
        commands = [c for c in map(_commands, BLOCK.finditer(page, 0, mark.start())) if c]
        if not commands:
            raise ReportInputError(
                f"No command '{COMMAND}' stands above the tables at character {mark.start()}."
            )
        parts = [tables(root / place, metrics).strip() for place, *metrics in commands[-1]]
        return "\n" + "\n\n".join(parts) + "\n\n"

    return OUTPUT.sub(_output, page)


def _commands(block: re.Match[str]) -> list[list[str]]:
    """Arguments of each command of a fenced block that prints tables."""
    lines = block["commands"].replace("\\\n", " ").splitlines()
    return [shlex.split(line.removeprefix(COMMAND)) for line in lines if line.startswith(f"{COMMAND} ")]
