"""The fusion networks by name: the network ``gated_sum`` is the class ``GatedSum`` of ``gated_sum.py`` here.

A new network is that class and one word in ``STUDIED``. Everything that knows networks by name reads these
lists: parameters, the matrix of studies/dvc.yaml, folders of models, evaluation.
"""

from __future__ import annotations

# DVC reads both lists, as plain text: they must stay lists of words.
HEADLINE = ["concat_mlp", "moe_bilinear"]  # trained by dvc.yaml: what the headline needs
STUDIED = ["gated_sum", "cross_attention", "moe", "bilinear"]  # trained by studies/dvc.yaml
NETWORKS = (*HEADLINE, *STUDIED)


def known_network(name: str) -> str:
    """``name`` if a network has it.

    Raises:
        ValueError: none has.
    """
    if name not in NETWORKS:
        raise ValueError(f"'{name}' is none of {', '.join(NETWORKS)}")
    return name
