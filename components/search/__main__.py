"""``python -m components.search TEXT``."""

import sys

from components.search.command import main

sys.exit(main(sys.argv[1:]))
