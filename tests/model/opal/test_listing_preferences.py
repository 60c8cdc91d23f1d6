"""Preference optimisation: its batches, the reference that is computed once, and the terms of its loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from components.opal.model.dpo import preferring
from components.opal.model.dpo.batches import PairCollator, ReadyPairs, pair_collator, trl_pairs
from components.opal.model.dpo.preferring import preference_dataset
from components.opal.model.language.listing_model import ListingModel
from components.opal.model.params import DpoParams, ListingParams, SftParams
from components.opal.model.preferences.pairs import Pair
from components.opal.model.sft.samples import read_lessons
from components.opal.model.sft.starting_model import starting_model
from components.opal.model.train.run import Run
from components.opal.model.writing.conversation import Conversation
from tests.model.opal.listing_shop import blocks, paths_of, write_workspace

LORA = {"rank": 2, "alpha": 4, "dropout": 0.1, "targets": ["q_proj", "v_proj"]}


class Case:
    """An untrained model, pairs of its catalogue, and how to optimise it."""

    def __init__(self, root: Path) -> None:
        made = blocks()
        self.listing = ListingParams.model_validate(made["listing"])
        self.dpo = made["dpo"]
        lessons = read_lessons("refined", self.listing, root / "data/checked", root / "data/refined")
        samples = lessons.order(SftParams.model_validate(made["sft"]))
        self.start, self.pictures = starting_model(self.listing, lessons, samples, paths_of(root))
        whole = list({s.product_id: s for s in samples if s.grain == "listing"}.values())[:6]
        self.pairs = [
            Pair(s.product_id, "shapes", s.question, s.answer, s.answer[: 20 + 5 * i], "seller", ("cut",))
            for i, s in enumerate(whole)
        ]
        self.positions = {s.product_id: s.position for s in whole}

    def prefer(self, folder: Path, lora: dict[str, Any] | None = None, **changes: Any) -> Any:
        """A finished optimisation of a copy of the model."""
        import copy

        model = ListingModel(copy.deepcopy(self.start.model), self.start.processor, self.start.context_length)
        torch.manual_seed(0)
        listing = self.listing.model_copy(update={"lora": ListingParams(lora=lora).lora})
        params = DpoParams.model_validate({**self.dpo, **changes})
        torch.set_num_threads(1)
        return preferring.prefer(
            model, self.pairs, self.positions, self.pictures.take, Run(params, listing, folder)
        )


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    root = tmp_path_factory.mktemp("preferences")
    write_workspace(root, products=40)
    return Case(root)


def test_pairs_from_tokens_known_beforehand_are_trls_batch(case: Case) -> None:
    data = preference_dataset(case.pairs, case.positions, Conversation(case.start))
    ready = pair_collator(case.start, case.pictures.take, data)
    assert isinstance(ready.together, ReadyPairs)
    theirs = PairCollator(trl_pairs(case.start), case.pictures.take)
    for rows in (range(4), range(2, 6)):
        examples = [data[i] for i in rows]
        ours, expected = ready(examples), theirs(examples)
        assert set(ours) == set(expected)
        for batch in (ours, expected):  # TRL fills some places behind the end with the token that ends
            batch["input_ids"] = batch["input_ids"] * batch["attention_mask"]
        for name, tensor in expected.items():
            assert ours[name].dtype == tensor.dtype and torch.equal(ours[name], tensor), name


class PreparedError(Exception):
    """The trainer stands, and is not to run."""


@pytest.mark.parametrize("lora", [None, LORA])
def test_the_cached_reference_is_the_online_one(
    case: Case, tmp_path: Path, lora: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = {name: case.prefer(tmp_path / name, lora, reference=name) for name in ("cached", "online")}
    for ours, theirs in zip(done["cached"].curves, done["online"].curves, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5, rel=1e-5)
    assert len({row["loss"] for row in done["cached"].curves}) > 1

    made: list[Any] = []

    def stand(trainer: Any, *_: object) -> None:
        made.append(trainer)
        raise PreparedError

    monkeypatch.setattr(preferring, "trained", stand)
    with pytest.raises(PreparedError):
        case.prefer(tmp_path / "stands", lora)
    (trainer,) = made
    assert trainer.ref_model is None
    rows = [trainer.train_dataset[i] for i in range(len(trainer.train_dataset))]
    assert len(rows) == 24 > len(case.pairs), "six pairs in four epochs"
    for row in rows:
        chosen, rejected = trainer.compute_ref_log_probs(trainer.model, trainer.data_collator([row]))
        known = (row["ref_chosen_logps"], row["ref_rejected_logps"])
        assert known == pytest.approx((chosen.item(), rejected.item()), abs=1e-5, rel=1e-6)
    batch = trainer.data_collator(rows[:4])
    assert np.allclose(batch["ref_rejected_logps"], [row["ref_rejected_logps"] for row in rows[:4]])
