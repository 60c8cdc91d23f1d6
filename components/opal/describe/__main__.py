"""``python -m components.opal.describe PHOTO --category X``."""

from __future__ import annotations

import sys

from components.opal.describe.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
