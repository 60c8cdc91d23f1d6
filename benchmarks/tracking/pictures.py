"""MLflow's own pages on a store of sixteen pipeline runs, as pictures: Chromium, light, 1,280 px wide."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from benchmarks.tracking.copies import add_copy, executions, prepare
from components.tracking.publish.overview import MODELS, RUNS, address
from components.tracking.publish.publish import publish
from components.tracking.registry.registry import promote, register
from components.tracking.store import MODE, connect, store_of, ui_command

PIPELINES = 16  # with their stages and evaluations some 150 runs
WIDTH, HEIGHT = 1280, 800  # CSS pixels
COLOURS = 128  # of the palette: a picture of a page then has tens of kilobytes
EMPTY = 300  # characters of a page that has MLflow's menus alone
PATIENCE_S = 180.0  # for a busy machine
SWITCHES = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
STILL_MS = 1500  # how long a page's text must stay the same: MLflow's tables come in steps


def take(source: Path, folder: Path) -> None:
    """Write ``review-*.png`` into ``folder``, from records of the workspace ``source``."""
    with tempfile.TemporaryDirectory(prefix="vitrine-pictures-") as scratch:
        # the path stands in some of MLflow's pages: a name that a reader could have
        root = Path(scratch) / "shop"
        fill(source, root)
        with served(root) as server, pages() as page:
            page.goto(f"{server}/#/experiments?{MODE}")
            settle(page)
            page.locator(
                "button[aria-label=Close]"
            ).last.click()  # MLflow's assistant, open at the first visit
            for name, (place, look) in views(root).items():
                page.goto(f"{server}/{place}")
                settle(page)
                look(page)
                settle(page)
                path = folder / f"review-{name}.png"
                page.screenshot(path=path)
                _fewer_colours(path)
                print(f"{path}: {path.stat().st_size:,} bytes", flush=True)


def fill(source: Path, root: Path, pipelines: int = PIPELINES) -> None:
    """Publish sixteen pipeline runs, and register the newest VL-CLIP with an older one as the champion."""
    prepare(source, root)
    real = executions(source)
    for number in range(pipelines):
        add_copy(source, root, real, number)
    warnings = publish(root).warnings
    assert not warnings, warnings
    (root / "models").symlink_to(source / "models")
    made = register(root, "vlclip", Path("models/vlclip/full"), "challenger")
    promote(root, made.name, "challenger", "champion")


@contextmanager
def served(root: Path) -> Iterator[str]:
    """MLflow's pages on this store; yields their address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (root / "server.log").open("wb") as log:
        process = subprocess.Popen(
            ui_command(root, port), env=os.environ | quiet, stdout=log, stderr=log, start_new_session=True
        )
        try:
            address = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + PATIENCE_S
            while True:
                try:
                    urllib.request.urlopen(f"{address}/health", timeout=5).close()
                    break
                except OSError:
                    assert process.poll() is None and time.monotonic() < deadline, "MLflow does not start"
                    time.sleep(0.5)
            yield address
        finally:
            process.terminate()
            process.wait(30)


@contextmanager
def pages() -> Iterator[Any]:
    """One page of headless Chromium."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(SWITCHES))
        context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        context.set_default_timeout(PATIENCE_S * 1000)
        yield context.new_page()
        browser.close()


def settle(page: Any) -> None:
    """Wait until the text of the page has been the same for a while; it asks its server again and again."""
    deadline, before = time.monotonic() + PATIENCE_S, ""
    while time.monotonic() < deadline:
        page.wait_for_timeout(STILL_MS)
        now = page.evaluate(
            "document.body.innerText + document.querySelectorAll('[class*=skeleton i]').length"
        )
        if now == before and len(now) > EMPTY:
            return
        before = now
    raise SystemExit(f"{page.url} does not come to rest.")


View = tuple[str, Callable[[Any], None]]


def views(root: Path) -> dict[str, View]:
    """Name of each picture -> its place behind the server's address, and what to do there first."""
    client = connect(store_of(root))
    experiment = client.get_experiment_by_name("vitrine-demo").experiment_id

    def _newest(filter_string: str, count: int = 1) -> list[Any]:
        order = ["attributes.start_time DESC"]
        return list(client.search_runs([experiment], filter_string, order_by=order, max_results=count))

    both = _newest("tags.`vitrine.kind` = 'pipeline' AND tags.`vitrine.systems` = 'vlclip'", 2)
    ids = quote(json.dumps([run.info.run_id for run in both]))
    compared = f"#/compare-runs?runs={ids}&experiments={quote(json.dumps([experiment]))}&{MODE}"
    version = client.get_model_version_by_alias("vitrine-demo-vlclip", "champion")
    model = version.source.removeprefix("models:/")
    (measured,) = _newest("tags.`vitrine.kind` = 'stage' AND tags.`vitrine.stage` = 'vlclip_eval'")
    stage = f"#/experiments/{experiment}/runs/{measured.info.run_id}"
    (pipeline,) = _newest("tags.`vitrine.kind` = 'pipeline'")
    runs, models = address(experiment, RUNS), address(experiment, MODELS)
    return {
        "runs": (runs, _still),
        "models": (models, _by_cluttered),
        "model": (f"#/experiments/{experiment}/models/{model}?{MODE}", _still),
        "run": (f"#/experiments/{experiment}/runs/{pipeline.info.run_id}?{MODE}", _still),
        "compare": (compared, _tables_alone),
        "models-tab": (f"#/experiments/{experiment}/models?{MODE}", _still),
        "charts": (f"{models}&compareRunsMode=CHART", _still),
        "lost": (f"{stage}/artifacts/vlclip_lost.json?{MODE}", _without_place),
        "registered": (f"#/models/{version.name}/versions/{version.version}?{MODE}", _still),
    }


def _tables_alone(page: Any) -> None:
    """Fold the plots of a comparison, which have one point for each of its two runs."""
    page.get_by_text("Visualizations", exact=True).click()


def _by_cluttered(page: Any) -> None:
    """Order models by what they reach on cluttered photos."""
    page.get_by_role("button", name="Sort: mrr").click()
    page.get_by_placeholder("Search").last.fill("mrr_cluttered")
    page.get_by_text("mrr_cluttered", exact=True).last.click()
    page.keyboard.press("Escape")


def _without_place(page: Any) -> None:
    """Leave out where this machine keeps the file."""
    page.get_by_text("Path: file:").first.evaluate("element => { element.style.visibility = 'hidden' }")


def _still(page: Any) -> None:
    """Nothing to do first."""


def _fewer_colours(path: Path) -> None:
    from PIL import Image

    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    small.save(path, "PNG", optimize=True)
