"""What every test shares."""

from __future__ import annotations

import os
import sys

from hypothesis import settings

# Some machines forbid compiled modules; then each process that a test starts compiles the project anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

settings.register_profile("suite", max_examples=50)  # half of the usual: each run draws others
settings.load_profile("suite")
