"""The figures of one system: variants, metrics with 95% intervals, paired tests, and what they support."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.report.errors import ReportInputError, ReportParamsError
from components.stage.record import Interval, lower_is_better

Verdict = Literal["better", "worse", "unclear"]
TESTS_KEY = "_tests"
LARGE = 10  # from here on one decimal is enough, and columns keep their width
# (system, variant) -> what a reader should know of it besides its name
NOTES = {("vlclip", "untrained"): "the encoder, before training"}
UNTRAINED = ("encoder", "untrained")  # nothing has trained it, unless the run's encoder was pretrained
PRETRAINED = "pretrained"  # no figure but a flag, 0 or 1, beside those of a variant that was not trained here
METRIC_NAMES = {
    "hits": "HITS",
    "mrr": "MRR",
    "map": "MAP",
    "ndcg": "nDCG",
    "recall": "Recall",
    "precision": "Precision",
    "iou": "IoU",
    "pointing": "Pointing accuracy",
    "attribute_accuracy": "Attribute accuracy",
    "attribute_f1": "Attribute F1",
    "attribute_macro_f1": "Attribute macro-F1",
    "completion_rate": "Completion rate",
    "hallucination_rate": "Hallucination rate",
    "hallucination_at_half": "Hallucination, half of the fields",
    "hallucination_at_equal": "Hallucination, equal completion",
    "fallback_rate": "Fallback rate",
    "risk_coverage_area": "Risk-coverage area",
    "correct": "Correct",
    "rouge_l": "ROUGE-L",
    "bleu": "BLEU",
}
SYSTEM_NAMES = {
    "ground": "Grounding",
    "vlclip": "VL-CLIP",
    "fusion": "Fusion retrieval",
    "refine": "OPAL, refinement",
    "listing": "OPAL, listings",
}


class _Finite(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class PairedTest(_Finite):
    """A paired bootstrap of ``a − b`` on the same test cases, with its 95% interval."""

    metric: str
    a: str
    b: str
    difference: float
    low: float
    high: float
    p: float = Field(ge=0, le=1)
    n: int


class _Figure(Interval):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


@dataclass(frozen=True)
class Figures:
    """What ``metrics/<system>.json`` holds."""

    system: str
    variants: dict[str, dict[str, Interval]]
    tests: tuple[PairedTest, ...]

    @property
    def tested(self) -> list[str]:
        """The metrics of the paired tests, in their order; every metric where there is no test."""
        spoken = dict.fromkeys(test.metric for test in self.tests)
        return [name for name in spoken or self.metrics if name in self.metrics]

    @property
    def metrics(self) -> list[str]:
        """Every metric that any variant has, in the order of the file."""
        names = dict.fromkeys(name for row in self.variants.values() for name in row)
        return [name for name in names if name != PRETRAINED]

    @property
    def measured(self) -> list[str]:
        """The variants that have a figure."""
        return [name for name, row in self.variants.items() if row]

    def knows_nothing(self, variant: str, pretrained: bool) -> bool:
        """Whether a variant was neither trained here nor elsewhere; ``pretrained``: of the run's encoder."""
        flag = self.variants[variant].get(PRETRAINED)
        return not flag.value if flag is not None else (self.system, variant) == UNTRAINED and not pretrained

    def note(self, variant: str, pretrained: bool) -> str:
        """What stands under a variant's name; empty where the name is enough."""
        if self.knows_nothing(variant, pretrained):
            return "learned nothing yet"
        return NOTES.get((self.system, variant), "")


def read_figures(path: Path, system: str) -> Figures:
    """Read one metrics file.

    Raises:
        ReportInputError: missing, not JSON, not finite, or not variant → metric → {value, low, high, n}.
    """
    loaded = read_json(path)
    rows = {name: row for name, row in loaded.items() if not name.startswith("_")}
    if not rows:
        raise ReportInputError(f"{path} holds no variant; run the evaluation of {system} again.")
    try:
        variants: dict[str, dict[str, Interval]] = {
            variant: {metric: _Figure.model_validate(cell) for metric, cell in dict(row).items()}
            for variant, row in rows.items()
        }
        tests = tuple(PairedTest.model_validate(test) for test in loaded.get(TESTS_KEY, []))
    except (ValidationError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ReportInputError(f"{path} is not a metrics file: {reason}.") from None
    return Figures(system, variants, tests)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ReportInputError: the file is missing, is not JSON, or is not an object.
    """
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ReportInputError(
            f"{path} does not exist; run the stage that makes it, or all with `dvc repro`."
        ) from None
    except ValueError as error:
        raise ReportInputError(f"{path} is not valid JSON: {error}.") from None
    if not isinstance(loaded, dict):
        raise ReportInputError(f"{path} must hold a JSON object.")
    return loaded


def verdict(figures: Figures, a: str, b: str, metric: str) -> Verdict | None:
    """What the paired test says of ``a`` against ``b``; None when nobody tested the pair.

    "better" needs the whole 95% interval of the difference on the good side of zero.
    """
    test = paired(figures, metric, *((b, a) if lower_is_better(metric) else (a, b)))
    if test is None:
        return None
    return "better" if test.low > 0 else "worse" if test.high < 0 else "unclear"


def paired(figures: Figures, metric: str, ours: str, baseline: str) -> PairedTest | None:
    """The paired test of ``ours`` against ``baseline``, turned so that its difference is ours − baseline."""
    for test in figures.tests:
        if test.metric == metric and (test.a, test.b) == (ours, baseline):
            return test
        if test.metric == metric and (test.b, test.a) == (ours, baseline):
            turned = {"a": test.b, "b": test.a, "difference": -test.difference}
            return test.model_copy(update=turned | {"low": -test.high, "high": -test.low})
    return None


def verdict_counts(figures: Figures) -> Counter[Verdict | None]:
    """How many paired tests found their first variant better, worse, or neither."""
    return Counter(verdict(figures, test.a, test.b, test.metric) for test in figures.tests)


def supported_best(figures: Figures, metric: str) -> str | None:
    """The variant that is better than every other one on ``metric`` by the paired tests, if there is one."""
    having = [name for name, row in figures.variants.items() if metric in row]
    for name in having:
        if len(having) > 1 and all(
            verdict(figures, name, b, metric) == "better" for b in having if b != name
        ):
            return name
    return None


def headline(all_figures: dict[str, Figures], wanted: dict[str, str]) -> dict[str, float]:
    """Pick the flat headline numbers: name → value of system.variant.metric.

    A metric that is not defined for this variant, such as the hallucination rate of a model whose answers
    state nothing, is left out: one undefined figure must not stop the page.

    Raises:
        ReportParamsError: a wanted figure does not exist for any variant; the message lists those that do.
    """
    numbers = {}
    for name, source in wanted.items():
        system, variant, metric = source.split(".", 2)
        figures = all_figures[system]
        row = figures.variants.get(variant)
        if row is None or metric not in {*row, *figures.metrics}:
            what = f"variant '{variant}' of {system}"
            what = what if row is None else f"metric '{metric}' of {system}.{variant}"
            known = ", ".join(figures.variants if row is None else row)
            raise ReportParamsError(f"report.headline.{name}: there is no {what} (known: {known}).")
        if metric in row:
            numbers[name] = row[metric].value
    return numbers


def system_label(system: str) -> str:
    """A system's name in words."""
    return SYSTEM_NAMES.get(system) or _plain(system)


def usual_n(figures: Figures, metric: str) -> int | None:
    """The number of cases that most variants' figures of ``metric`` rest on; None where no two agree."""
    counts = Counter(row[metric].n for row in figures.variants.values() if metric in row)
    most = max(counts.values(), default=0)
    return next(n for n, times in counts.items() if times == most) if most > 1 or len(counts) == 1 else None


def metric_label(metric: str) -> str:
    """The field's way to write a metric: ``hits_at_5`` → HITS@5, ``visual_ndcg_at_10`` → Visual · nDCG@10.

    What stands before or after a known name (a kind of query, an attribute, a scene) is set apart.
    """
    if "." in metric:
        first, rest = metric.split(".", 1)
        return " · ".join([system_label(first), metric_label(rest)])
    names = "|".join(sorted(METRIC_NAMES, key=len, reverse=True))
    found = re.fullmatch(rf"(?:(.+?)_)?({names})(?:_at_(\d+))?(?:_(.+))?", metric)
    if found is None:
        stem, at, cut = metric.rpartition("_at_")
        return f"{_plain(stem)}@{cut}" if at and cut.isdigit() else _plain(metric)
    before, name, cut, after = found.groups(default="")
    words = [_plain(before), METRIC_NAMES[name] + (f"@{cut}" if cut else ""), _plain(after).lower()]
    return " · ".join(word for word in words if word)


def _plain(words: str) -> str:
    return re.sub(r"[_\s]+", " ", words).strip().capitalize()


def decimals(value: float) -> int:
    """How many decimals a figure has, and the ends of its interval with it: one from ``LARGE`` on."""
    return 1 if abs(value) >= LARGE else 3


def number(value: float, digits: int | None = None, signed: bool = False) -> str:
    """A figure with a true minus sign, so that columns line up: ``0.612``, ``−0.030``, ``+0.210``, ``45.0``.

    Args:
        digits: decimals; None: those of :func:`decimals`.
    """
    if math.isnan(value):
        return "not defined"
    digits = decimals(value) if digits is None else digits
    if round(value, digits) == 0:  # no "-0.000"
        value = 0.0
    text = f"{value:+,.{digits}f}" if signed else f"{value:,.{digits}f}"
    return text.replace("-", "−")


def bounds(found: Interval | PairedTest, middle: float) -> str:
    """``[0.390, 0.434]`` with the decimals of ``middle``, the figure between; empty without an interval."""
    if found.low is None or found.high is None:
        return ""
    return f"[{number(found.low, decimals(middle))}, {number(found.high, decimals(middle))}]"


def p_value(p: float) -> str:
    """A p-value as it is written: ``p<0.001`` or ``p=0.012``."""
    return "p<0.001" if p < 0.001 else f"p={p:.3f}"
