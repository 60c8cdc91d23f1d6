"""Tables in docs are what the command beside them prints."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from components.report.errors import ReportInputError
from components.report.text.markdown import tables
from components.report.text.refresh import refreshed

ROOT = Path(__file__).parents[2]
PAGE = """# Results

```sh
python -m components.report tables metrics \\
  mrr
```

Words stay.

<!-- tables -->
old
<!-- /tables -->

```sh
make demo
python -m components.report tables metrics/other.json
```
<!-- tables -->
<!-- /tables -->
The end.
"""


def figures(path: Path, value: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    interval = {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 1200}
    path.write_text(json.dumps({"ours": {"mrr": interval, "recall": interval}, "_tests": []}))


def test_each_pair_of_marks_gets_the_output_of_the_block_above(tmp_path: Path) -> None:
    figures(tmp_path / "metrics" / "one.json", 0.25)
    figures(tmp_path / "metrics" / "other.json", 0.5)
    new = refreshed(PAGE, tmp_path)
    first, second = tables(tmp_path / "metrics", ["mrr"]), tables(tmp_path / "metrics" / "other.json")
    assert first.strip() in new and second.strip() in new and "recall" in second and "recall" not in first
    assert "old" not in new and "Words stay." in new and new.endswith("The end.\n")
    assert refreshed(new, tmp_path) == new


def test_an_empty_pair_does_not_swallow_the_next(tmp_path: Path) -> None:
    figures(tmp_path / "metrics" / "one.json", 0.25)
    figures(tmp_path / "metrics" / "other.json", 0.5)
    new = refreshed(PAGE.replace("old\n", ""), tmp_path)
    assert new == refreshed(PAGE, tmp_path)


def test_marks_without_a_command_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ReportInputError, match="stands above the tables"):
        refreshed("<!-- tables -->\n<!-- /tables -->\n", tmp_path)


@pytest.mark.parametrize("name", ["demo", "fashion", "fashion-cluttered", "studies"])
def test_the_pages_hold_the_committed_figures(name: str) -> None:
    places = ["metrics", "results", "docs/results"]
    changed = subprocess.run(["git", "status", "--porcelain", "--", *places], cwd=ROOT, capture_output=True)
    if changed.returncode or changed.stdout:
        pytest.skip("figures differ from those of the commit: a run of your own")
    page = (ROOT / "docs" / "results" / f"{name}.md").read_text(encoding="utf-8")
    assert refreshed(page, ROOT) == page
