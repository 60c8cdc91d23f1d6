"""``python -m components.fusion.search TEXT``."""

import sys

from components.fusion.search.command import main

sys.exit(main(sys.argv[1:]))
