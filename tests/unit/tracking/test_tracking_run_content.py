"""Names, values and curves that MLflow takes, whatever a stage hands over."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.stage.record import Record
from components.tracking.lineage.revision import Revision
from components.tracking.params import TrackingParams
from components.tracking.publish.figures import (
    COLUMNS,
    CURVE_POINTS,
    figure_rows,
    figures,
    logged_table,
    paired_rows,
    shown,
    thinned,
)
from components.tracking.publish.models import line, sparklines
from components.tracking.publish.pending import Join
from components.tracking.publish.run_content import (
    KEY_LENGTH,
    clean_key,
    flattened,
    parameters,
    shortened,
    tags,
)

WILD = st.text(min_size=1, max_size=300)


@settings(deadline=None)  # the clock of a busy machine says nothing here
@given(st.one_of(WILD, st.text("./ a:-_", min_size=1)))
def test_any_name_becomes_one_that_mlflow_takes(name):
    from mlflow.utils.validation import _validate_metric_name, _validate_param_name, _validate_tag_name

    cleaned = clean_key(name)
    assert len(cleaned) <= KEY_LENGTH
    _validate_metric_name(cleaned)
    _validate_param_name(cleaned)
    _validate_tag_name(cleaned)
    assert clean_key(cleaned) == cleaned


@settings(deadline=None)  # the clock of a busy machine says nothing here
@given(WILD, WILD)
def test_distinct_names_stay_distinct(a, b):
    assert (clean_key(a) == clean_key(b)) == (a == b)


def test_good_names_stay_as_they_are():
    for name in ("encoder.lr", "fine_tuned/hits_at_5", "vitrine.out.data/checked", "a b:c-d"):
        assert clean_key(name) == name


@settings(deadline=None)  # the clock of a busy machine says nothing here
@given(st.text(max_size=400), st.integers(100, 300))
def test_long_values_are_cut_and_stay_distinct(value, limit):
    cut = shortened(value, limit)
    assert len(cut) <= limit
    assert (cut == value) == (len(value) <= limit) or cut == value
    assert shortened(value + "x", limit) != cut


def test_nested_parameters_become_dotted():
    nested = {"a": {"b": 1, "c": {"d": [1, 2], "e": {}}}, "f": None, "g": "text", "h": True}
    assert flattened(nested) == {
        "a.b": "1",
        "a.c.d": "[1, 2]",
        "a.c.e": "{}",
        "f": "null",
        "g": "text",
        "h": "true",
    }


TABLE = {
    "full": {
        "mrr": {"value": 0.5, "low": None, "high": 0.6, "n": 3},
        "rate": 0.25,
        "broken": math.nan,
        "name": "text",
        "ok": True,
    },
    "raw": {"mrr": {"value": 0.4, "n": 3}},
    "_tests": [{"metric": "mrr", "a": "full", "b": "raw", "p": 0.1}],
}


def test_all_figures_of_a_metrics_file_stand_in_the_table():
    record = Record(stage="s", metrics={"full.mrr": 0.5, "tokens": 7.0}, timings={"train": 2.0})
    assert figure_rows(record, {"t": TABLE}) == [
        ["t", "full", "mrr", 0.5, None, 0.6, 3.0],
        ["t", "full", "rate", 0.25, None, None, None],
        ["t", "raw", "mrr", 0.4, None, None, 3.0],
        ["record", "", "tokens", 7.0, None, None, None],
        ["seconds", "", "train", 2.0, None, None, None],
    ]
    assert paired_rows({"t": TABLE}) == [["t", "mrr", "full", "raw", None, None, None, 0.1, None]]
    assert figure_rows(Record(stage="s"), {"h": {"a.b": 0.5}}) == [["h", "a.b", "", 0.5, None, None, None]]


def test_the_main_variant_and_the_ranking_figure_come_first():
    params = TrackingParams(headline={"t": {"variant": "raw", "metrics": ["mrr", "rate", "missing"]}})
    shown_first = shown(Record(stage="s"), {"study_t": TABLE}, params)
    assert list(shown_first.items()) == [("raw/mrr", 0.4), ("full/mrr", 0.5), ("full/rate", 0.25)]


@settings(deadline=None)  # the clock of a busy machine says nothing here
@given(st.dictionaries(WILD, st.dictionaries(WILD, st.floats())), st.dictionaries(WILD, st.floats()))
def test_a_run_shows_at_most_twelve_figures_and_curves_and_no_infinite_one(table, recorded):
    curves = {f"c{i}": [{"step": 0, "value": 1.0}] for i in range(len(recorded))}
    record = Record(stage="s", metrics=recorded, curves=curves)
    found = [f for f in figures(record, {"t": table}, TrackingParams()) if not f.key.startswith("system/")]
    assert len({f.key for f in found}) <= 12 and all(math.isfinite(f.value) for f in found)
    json.loads(logged_table(COLUMNS, figure_rows(record, {"t": table})), parse_constant=pytest.fail)


@settings(deadline=None)  # the clock of a busy machine says nothing here
@given(st.integers(0, 5000))
def test_thinned_curves_keep_their_ends_and_order(length):
    points = [{"step": float(i), "value": 0.0} for i in range(length)]
    kept = [p["step"] for p in thinned(points, CURVE_POINTS)]
    assert len(kept) == min(length, CURVE_POINTS) and kept == sorted(set(kept))
    assert length == 0 or (kept[0], kept[-1]) == (0.0, length - 1.0)


def test_curve_and_metric_of_one_name_stay_separate():
    record = Record(
        stage="s", metrics={"loss": 1.0}, curves={"loss": [{"step": 0, "value": 9.0}, {"step": 1}]}
    )
    found = [(f.key, f.value) for f in figures(record, {}, TrackingParams()) if "loss" in f.key]
    assert found == [("loss", 1.0), ("curve/loss", 9.0)]


def test_without_a_lock_entry_the_records_parameters_are_kept_and_empty_tags_left_out():
    record = Record(stage="s", status="failed", error="x" * 9000, parameters={"lr": 0.1})
    join = Join(
        record=record.id,
        stage="s",
        status="failed",
        started=0,
        seconds=0,
        pipeline="p",
        code=Revision(),
        profile="",
        catalogue="",
    )
    assert parameters(record, join) == {"lr": "0.1"}
    found = tags(record, join)
    assert len(found["vitrine.error"]) == 5000 and "vitrine.git_commit" not in found


def test_the_machines_series_have_mlflows_names_their_own_times_and_a_bound():
    points = [{"seconds": float(i), "value": 50.0 + i} for i in range(120)]
    names = ["cpu_utilization_percentage", *(f"gpu_{i}_power_usage_watts" for i in range(60))]
    record = Record(stage="x", started=1000.0, system=dict.fromkeys(names, points))
    found = [f for f in figures(record, {}, TrackingParams()) if f.timestamp]
    assert {f.key for f in found} <= {f"system/{name}" for name in names}
    cpu = [f for f in found if f.key == "system/cpu_utilization_percentage"]
    assert (cpu[0].timestamp, cpu[-1].timestamp) == (1_000_000, 1_119_000)
    assert [f.step for f in cpu] == list(range(60)) and cpu[-1].value == 169.0
    assert len({f.key for f in figures(record, {}, TrackingParams())}) <= 60


def test_a_curve_is_told_in_one_line_of_text():
    falling = [{"step": float(i), "value": 10.0 - i} for i in range(10)]
    curves = {"loss": falling, "one": falling[:1], "broken": [{"step": 0.0, "value": float("nan")}] * 3}
    (told,) = sparklines(curves)
    assert told.split() == ["loss", "█▇▆▆▅▄▃▃▂▁", "10", "→", "1"]
    assert len(line([float(i % 7) for i in range(1000)])) == 40
    assert set(line([1.0] * 50)) == {"▁"}
