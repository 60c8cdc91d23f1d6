"""How far fine-tuning goes from the weights it started from: a mean of both, chosen on validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from components.encoder.model.towers.dual_encoder import Encoder


def interpolate(
    tuned: Encoder, base: Encoder, shares: Sequence[float], validate: Callable[[Encoder], dict[str, float]]
) -> tuple[float, dict[str, float], list[dict[str, float]]]:
    """Give ``tuned`` the mean of both encoders' weights that is best on validation.

    WiSE-FT (Wortsman et al. 2022, arXiv 2109.01903): ``(1 - share) * base + share * tuned``. Among equals the
    largest share is taken.

    Args:
        shares: of the tuned weights, in 0..1, ascending. validate: its first figure chooses; the higher the
            better.

    Returns:
        The share that was taken, its figures, and the figures of each, by the share in percent as ``step``.
    """
    before = base.state_dict()
    after = {name: value.clone() for name, value in tuned.state_dict().items()}
    curve: list[dict[str, float]] = []

    def _mix(share: float) -> None:
        tuned.load_state_dict(
            {n: torch.lerp(before[n], v, share) if v.is_floating_point() else v for n, v in after.items()}
        )

    for share in shares:
        _mix(share)
        curve.append({"step": round(100 * share), **validate(tuned)})
    first = next(name for name in curve[0] if name != "step")
    best = max(range(len(curve)), key=lambda i: (curve[i][first], i))
    _mix(shares[best])
    named = [{n if n == "step" else f"{n}_by_share_percent": v for n, v in row.items()} for row in curve]
    return shares[best], {n: v for n, v in curve[best].items() if n != "step"}, named
