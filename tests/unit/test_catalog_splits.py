"""Hash splits: shares, stability, and their independence of everything but the group and the seed."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.catalog.format.records import SPLITS
from components.catalog.source.params import SplitFractions
from components.stage.errors import ConfigurationError
from components.stage.params import validate

FRACTIONS = SplitFractions(train=0.7, validation=0.1, test=0.2)


def test_shares_are_met() -> None:
    counts = Counter(FRACTIONS.split_of(f"group {n}", 1) for n in range(20_000))
    for split in SPLITS:
        assert abs(counts[split] / 20_000 - getattr(FRACTIONS, split)) < 0.015


def test_known_splits_are_the_same_on_every_machine() -> None:
    found = "".join(FRACTIONS.split_of(f"group {n}", 1)[:2] for n in range(12))
    assert found == "trvatrtrtrtrtrtrtrtrtrtr"


def test_a_seed_moves_groups() -> None:
    moved = sum(FRACTIONS.split_of(str(n), 1) != FRACTIONS.split_of(str(n), 2) for n in range(1000))
    assert 300 < moved < 600


@settings(deadline=None)
@given(st.text(), st.integers(0, 2**40))
def test_any_group_has_one_split(group: str, seed: int) -> None:
    assert FRACTIONS.split_of(group, seed) == FRACTIONS.split_of(group, seed)
    assert FRACTIONS.split_of(group, seed) in SPLITS


def test_fractions_must_sum_to_one() -> None:
    with pytest.raises(ConfigurationError, match="sum to 1"):
        validate(SplitFractions, {"train": 0.8, "validation": 0.1, "test": 0.2}, "catalog.splits")
