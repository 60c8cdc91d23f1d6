"""Losses and heads: equal to open_clip's and PyTorch's own, and blind to pairs that are no negatives."""

from __future__ import annotations

import math

import open_clip
import pytest
import torch

from components.encoder.model.towers.dropout import Dropout
from components.encoder.model.towers.heads import Head
from components.encoder.model.towers.losses import distillation, info_nce, no_negatives, sigmoid_loss


def test_texts_of_no_picture_are_negatives_of_pictures_alone() -> None:
    """The oracle is a cross entropy of PyTorch in each direction."""
    generator = torch.Generator().manual_seed(0)
    square, more = torch.randn(5, 5, generator=generator), torch.randn(5, 3, generator=generator)
    excluded = torch.zeros(5, 8, dtype=torch.bool)
    excluded[1, 6] = True
    target = torch.arange(5)
    seen = torch.cat([square, more], dim=1)
    seen[1, 6] = float("-inf")
    expected = (
        torch.nn.functional.cross_entropy(seen, target) + torch.nn.functional.cross_entropy(square.T, target)
    ) / 2
    ours = info_nce(torch.cat([square, more], dim=1), excluded, texts_only=3)
    torch.testing.assert_close(ours, expected)


def test_info_nce_equals_open_clips_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    images, texts = (
        torch.nn.functional.normalize(torch.randn(8, 16, generator=generator), dim=-1) for _ in "ab"
    )
    scale = torch.tensor(14.3)
    theirs = open_clip.loss.ClipLoss()(images, texts, scale)
    ours = info_nce(scale * images @ texts.T, torch.zeros(8, 8, dtype=torch.bool))
    torch.testing.assert_close(ours, theirs)


def test_sigmoid_loss_equals_open_clips_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    images, texts = (
        torch.nn.functional.normalize(torch.randn(8, 16, generator=generator), dim=-1) for _ in "ab"
    )
    scale, bias = torch.tensor(14.3), torch.tensor(-2.1)
    theirs = open_clip.loss.SigLipLoss()(images, texts, scale, bias)
    ours = sigmoid_loss(scale * images @ texts.T + bias, torch.zeros(8, 8, dtype=torch.bool))
    torch.testing.assert_close(ours, theirs)


def test_sigmoid_loss_asks_every_pair_that_is_not_excluded() -> None:
    """The oracle is the formula, pair by pair; the last two texts are of no picture."""
    logits = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)) * 3
    excluded = torch.zeros(4, 6, dtype=torch.bool)
    excluded[0, 1] = excluded[3, 5] = True
    expected = 0.0
    for i in range(4):
        for j in range(6):
            sign = 1 if i == j else -1
            if not excluded[i, j]:
                expected += math.log(1 + math.exp(-sign * float(logits[i, j])))
    assert float(sigmoid_loss(logits, excluded)) == pytest.approx(expected / 4, rel=1e-5)


def test_distillation_is_how_far_both_directions_have_gone_from_the_base() -> None:
    """The oracle is the divergence's formula; the last text is of no picture and asks for none."""
    generator = torch.Generator().manual_seed(0)
    ours, base = (torch.randn(3, 4, generator=generator) for _ in "ab")
    expected = 0.0
    for a, b in ((ours, base), (ours[:, :3].T, base[:, :3].T)):
        p, q = b.softmax(dim=1), a.softmax(dim=1)
        expected += float((p * (p / q).log()).sum(dim=1).mean()) / 2
    assert float(distillation(ours, base, texts_only=1)) == pytest.approx(expected, rel=1e-5)
    assert float(distillation(base, base, texts_only=1)) == pytest.approx(0, abs=1e-7)


def test_excluded_pairs_do_not_count() -> None:
    logits = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    groups = torch.tensor([0, 0, 1, 2, 3, 4])
    excluded = no_negatives(groups, torch.zeros(6, 6, dtype=torch.bool))
    changed = logits.clone()
    changed[0, 1] = changed[1, 0] = 50.0
    torch.testing.assert_close(info_nce(logits, excluded), info_nce(changed, excluded))
    assert not torch.isclose(
        info_nce(logits, torch.zeros_like(excluded)), info_nce(changed, torch.zeros_like(excluded))
    )


def test_products_of_one_group_and_true_texts_are_no_negatives_and_positives_stay() -> None:
    entailed = torch.zeros(4, 4, dtype=torch.bool)
    entailed[0, 3] = entailed[2, 2] = True
    excluded = no_negatives(torch.tensor([7, 7, 1, 2]), entailed)
    pairs = {(int(i), int(j)) for i, j in excluded.nonzero()}
    assert pairs == {(0, 1), (1, 0), (0, 3)}


def test_a_head_standardises_by_what_it_was_fitted_to() -> None:
    """The oracle is a batch norm of PyTorch's on the whole set before the same layers."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(200, 6, generator=generator) * torch.tensor([1, 5, 0.1, 20, 3, 1]) + 4
    head = Head(6, 16, 8, dropout=0.2).eval()
    head.fit(features)
    scaled = torch.nn.functional.batch_norm(features, None, None, training=True, eps=1e-12)
    expected = torch.nn.functional.normalize(head.layers(scaled), dim=-1)
    torch.testing.assert_close(head(features), expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(head(features).norm(dim=-1), torch.ones(200))


def test_a_feature_that_never_varies_is_not_blown_up() -> None:
    """A difference in the last bit must not decide a vector."""
    head = Head(3, 8, 4, dropout=0.0)
    constant = torch.tensor([[1.0, 2.0, 3.0]]).repeat(5, 1)
    head.fit(constant)
    torch.testing.assert_close(head(constant + 1e-6), head(constant), atol=1e-2, rtol=0)


def test_dropout_keeps_the_mean_and_drops_what_torch_drops_on_average() -> None:
    torch.manual_seed(0)
    ones = torch.ones(1001, 401, requires_grad=True)
    layer, theirs = Dropout(0.2), torch.nn.Dropout(0.2)
    out = layer(ones)
    assert sorted(out.unique().tolist()) == [0.0, 1.25] == sorted(theirs(ones).unique().tolist())
    dropped = (out == 0).float()
    # five standard deviations of a share, over all, over a row and over a column
    assert abs(dropped.mean() - 0.2) < 5 * (0.16 / dropped.numel()) ** 0.5
    for axis in (0, 1):
        assert (dropped.mean(dim=axis) - 0.2).abs().max() < 5 * (0.16 / dropped.shape[axis]) ** 0.5
    neighbours = torch.corrcoef(torch.stack([dropped[:, :-1].ravel(), dropped[:, 1:].ravel()]))[0, 1]
    assert abs(neighbours) < 5 / dropped.numel() ** 0.5
    out.sum().backward()
    assert torch.equal(ones.grad, out)  # what is dropped learns nothing, what is kept is scaled up


def test_dropout_follows_from_torchs_generator_alone() -> None:
    layer, seen = Dropout(0.5), []
    for _ in range(2):
        torch.manual_seed(3)
        seen.append(torch.stack([layer(torch.ones(7, 3)), layer(torch.ones(7, 3))]))
    assert torch.equal(*seen)
    assert not torch.equal(*seen[0])


def test_dropout_acts_in_training_alone() -> None:
    head = Head(16, 64, 8, dropout=0.5)
    features = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(head(features), head(features))
    head.eval()
    assert torch.equal(head(features), head(features))
