"""Run one stage of the graph: ``python -m components.stage ROOM [name=value ...]``."""

from __future__ import annotations

import sys

from components.stage.frame import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
