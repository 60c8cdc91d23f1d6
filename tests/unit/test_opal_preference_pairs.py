"""Pairs from several sources: the same wrong answer of one product counts once."""

from __future__ import annotations

from components.opal.model.preferences.pairs import PreferencePair, first_new


def pair(product_id: str, rejected: str, kind: str) -> PreferencePair:
    return PreferencePair(product_id, "c", "List it.", "right", rejected, kind, ("contradicts: hue",))


def test_an_answer_that_was_sampled_is_not_swapped_in_again() -> None:
    sampled = first_new(iter([pair("a", "red", "sampled"), pair("b", "red", "sampled")]), 5, [])
    assert len(sampled) == 2
    swapped = [pair("a", "red", "swapped"), pair("a", "blue", "swapped"), pair("c", "red", "swapped")]
    assert first_new(iter(swapped), 1, sampled) == swapped[1:2]
    assert first_new(iter(swapped), 9, sampled) == swapped[1:]
    assert first_new(iter(swapped), 0, sampled) == []
