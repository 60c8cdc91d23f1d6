"""Hash splits: shares, stability, and their independence of everything but the group and the seed."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.catalog.format.records import SPLITS
from components.catalog.source.params import SplitFractions
from components.catalog.source.splits import split_of, uniform
from components.stage.errors import ConfigurationError
from components.stage.params import validate

FRACTIONS = SplitFractions(train=0.7, validation=0.1, test=0.2)


def test_shares_are_met() -> None:
    counts = Counter(split_of(f"group {n}", FRACTIONS, 1) for n in range(20_000))
    for split in SPLITS:
        assert abs(counts[split] / 20_000 - getattr(FRACTIONS, split)) < 0.015


def test_known_value_is_the_same_on_every_machine() -> None:
    assert uniform("split", 1, "group") == pytest.approx(0.22971313431379203, abs=0)


def test_a_seed_moves_groups() -> None:
    moved = sum(split_of(str(n), FRACTIONS, 1) != split_of(str(n), FRACTIONS, 2) for n in range(1000))
    assert 300 < moved < 600


@settings(deadline=None)
@given(st.text(), st.integers(0, 2**40))
def test_any_group_has_one_split(group: str, seed: int) -> None:
    assert split_of(group, FRACTIONS, seed) == split_of(group, FRACTIONS, seed)
    assert split_of(group, FRACTIONS, seed) in SPLITS


def test_fractions_must_sum_to_one() -> None:
    with pytest.raises(ConfigurationError, match="sum to 1"):
        validate(SplitFractions, {"train": 0.8, "validation": 0.1, "test": 0.2}, "catalog.splits")
