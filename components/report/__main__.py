"""Figures as Markdown, for docs.

``python -m components.report tables [FOLDER [METRIC...]]`` prints them (default: all of ``metrics``);
``python -m components.report refresh PAGE...`` does so in pages of docs, between their marks.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from components.stage.publish import write_text


def main(words: Sequence[str]) -> int:
    """Run ``tables`` or ``refresh``; the exit code."""
    if words[:1] == ["tables"]:
        from components.report.text.markdown import tables

        print(tables(Path(words[1] if len(words) > 1 else "metrics"), list(words[2:])))
    elif words[:1] == ["refresh"]:
        from components.report.text.refresh import refreshed

        for page in map(Path, words[1:]):
            write_text(page, refreshed(page.read_text(encoding="utf-8"), Path()))
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
