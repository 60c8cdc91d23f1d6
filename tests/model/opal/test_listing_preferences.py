"""Preference optimisation: its batches, the reference that is computed once, and the terms of its loss."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from components.opal.model.dpo import preferring
from components.opal.model.dpo.batches import PairCollator, ReadyPairs, damaged, pair_collator, trl_pairs
from components.opal.model.dpo.preferring import other_products, preference_dataset
from components.opal.model.language.listing_model import ListingModel, as_input
from components.opal.model.listing_text import Listing
from components.opal.model.params import DpoParams, ListingParams, PreferencesParams, SftParams
from components.opal.model.preferences.pair_maker import PairMaker
from components.opal.model.preferences.pairs import PreferencePair
from components.opal.model.sft.samples import read_lessons
from components.opal.model.sft.starting_model import note_of, starting_model
from components.opal.model.train.run import TuningRun
from components.opal.model.writing.conversation import Conversation
from components.opal.model.writing.ready_tokens import as_images
from tests.model.opal.listing_shop import blocks, paths_of, write_workspace

LORA = {"rank": 2, "alpha": 4, "dropout": 0.1, "targets": ["q_proj", "v_proj"]}


class Case:
    """An untrained model, pairs of its catalogue, and how to optimise it."""

    def __init__(self, root: Path) -> None:
        made = blocks()
        made["listing"]["taught"] |= {"unseen": 0.3}
        self.listing = ListingParams.model_validate(made["listing"])
        self.dpo = made["dpo"]
        lessons = read_lessons("refined", self.listing, root / "data/checked", root / "data/refined")
        self.root, self.lessons = root, lessons
        samples = lessons.order(SftParams.model_validate(made["sft"]))
        self.start, self.pictures = starting_model(self.listing, lessons, samples, paths_of(root))
        whole = list({s.product_id: s for s in samples if s.grain == "listing"}.values())[:6]
        self.pairs = [
            PreferencePair(
                s.product_id, "shapes", s.question, s.answer, s.answer[: 20 + 5 * i], "seller", ("cut",)
            )
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
            model, self.pairs, self.positions, self.pictures.take, TuningRun(params, listing, folder)
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


def stands(
    case: Case,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    lora: dict[str, Any] | None = None,
    **changes: Any,
) -> Any:
    """The trainer before its first step."""
    monkeypatch.setattr(preferring, "trained", lambda trainer, *_: trainer)
    return case.prefer(folder, lora, **changes)


@pytest.mark.parametrize("lora", [None, LORA])
def test_the_cached_reference_is_the_online_one(
    case: Case, tmp_path: Path, lora: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = {
        name: case.prefer(tmp_path / name, lora, reference=name, image_weight=0)
        for name in ("cached", "online")
    }
    for ours, theirs in zip(done["cached"].curves, done["online"].curves, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5, rel=1e-5)
    assert len({row["loss"] for row in done["cached"].curves}) > 1

    trainer = stands(case, tmp_path / "stands", monkeypatch, lora)
    assert trainer.ref_model is None
    rows = [trainer.train_dataset[i] for i in range(len(trainer.train_dataset))]
    assert len(rows) == 24 > len(case.pairs), "six pairs in four epochs"
    for row in rows:
        chosen, rejected = trainer.compute_ref_log_probs(trainer.model, trainer.data_collator([row]))
        known = (row["ref_chosen_logps"], row["ref_rejected_logps"])
        assert known == pytest.approx((chosen.item(), rejected.item()), abs=1e-5, rel=1e-6)
    batch = trainer.data_collator(rows[:4])
    assert np.allclose(batch["ref_rejected_logps"], [row["ref_rejected_logps"] for row in rows[:4]])


def answer_logps(model: Any, start: ListingModel, asked: str, answer: str, picture: Any) -> torch.Tensor:
    """The plain formula: the sum over the answer's tokens of log softmax of what stands before them."""
    prompt = start.processor(text=[asked], images=[[as_images(start, picture)[0]]], add_special_tokens=False)
    before = list(prompt["input_ids"][0])
    after = start.tokenizer(answer, add_special_tokens=False)["input_ids"]
    ids = torch.tensor([[*before, *after]])
    logits = model(input_ids=ids, pixel_values=as_input(picture)).logits[0].log_softmax(dim=-1)
    places = range(len(before) - 1, len(before) + len(after) - 1)
    return torch.stack([logits[at, token] for at, token in zip(places, after, strict=True)]).sum()


@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_the_loss_is_the_plain_formula(
    case: Case, tmp_path: Path, kept: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    terms = {"sigmoid": 0.8, "bco": 0.2, "sft": 0.5, "image": 0.7, "anchor": 0.3}
    changes = {f"{name}_weight": weight for name, weight in terms.items()}
    changes |= {"image_kept": kept, "anchor_delta": 0.05, "beta": 0.4}
    trainer = stands(case, tmp_path, monkeypatch, **changes)
    with torch.no_grad():  # the policy has left the reference
        for index, weight in enumerate(trainer.model.parameters()):
            if weight.requires_grad:
                torch.manual_seed(index)
                weight += 0.05 * torch.randn_like(weight)
    rows = [trainer.train_dataset[i] for i in range(3)]
    ours = trainer.compute_loss(trainer.model, trainer.data_collator(rows))

    rewards: dict[str, list[torch.Tensor]] = {"chosen": [], "rejected": [], "other": []}
    likelihood, tokens = torch.tensor(0.0), 0
    for row in rows:
        true, another = (case.pictures.take(np.array([row[name]])) for name in ("position", "other"))
        assert row["position"] != row["other"]
        if kept:
            mixed = damaged(true, another, kept, np.array([row["position"]]))
            left = [bool((a == b).all()) for a, b in zip(mixed[0], true[0], strict=True)]
            assert sum(left) == 2, "of five tokens half are left"
            another = mixed
        for name, side, picture in (
            ("chosen", "chosen", true), ("rejected", "rejected", true), ("other", "chosen", another)
        ):  # fmt: skip
            asked = (case.start, row["prompt"], row[side], picture)
            policy = answer_logps(trainer.model, *asked)
            rewards[name].append(0.4 * (policy - answer_logps(case.start.model, *asked)))
            if name == "chosen":
                likelihood = likelihood - policy
                tokens += len(case.start.tokenizer(row[side], add_special_tokens=False)["input_ids"])
    chosen, rejected, other = (torch.stack(rewards[name]) for name in rewards)
    expected = (
        0.8 * -(chosen - rejected).sigmoid().log().mean()
        + 0.2 * -(chosen.sigmoid().log() + (-rejected).sigmoid().log()).mean()
        + 0.5 * likelihood / tokens
        + 0.7 * -(chosen - other).sigmoid().log().mean()
        + 0.3 * -(chosen - 0.05).sigmoid().log().mean()
    )
    assert ours.item() == pytest.approx(expected.item(), rel=1e-4)


def test_terms_are_learned_and_what_cannot_be_is_refused(case: Case, tmp_path: Path) -> None:
    done = case.prefer(tmp_path, image_weight=1.0, anchor_weight=1.0)
    first, last = done.curves[0], done.curves[-1]
    for name in ("image_margin", "anchor_margin"):
        assert abs(first[name]) < 1e-5 < last[name]
    for changes in ({"reference": "online", "image_weight": 1}, {"sigmoid_weight": 0, "sft_weight": 0}):
        with pytest.raises(ValueError, match="weight"):
            DpoParams.model_validate({**case.dpo, **changes})


def test_another_product_is_listed_otherwise_or_there_is_none(case: Case) -> None:
    first, second, *_ = case.pairs
    rows = [case.positions[pair.product_id] for pair in (first, second)]
    assert other_products([first, second, first], case.positions, 0) == [rows[1], rows[0], rows[1]]
    elsewhere = replace(second, category="another")
    assert other_products([first, elsewhere], case.positions, 0) == [rows[1], rows[0]]
    assert other_products([first], case.positions, 0) == []
    assert other_products([first, replace(second, chosen=first.chosen)], case.positions, 0) == []


def test_a_damaged_picture_keeps_a_square_of_the_true_one() -> None:
    true, other = np.full((2, 8, 8, 3), 1, np.uint8), np.full((2, 8, 8, 3), 2, np.uint8)
    left = (damaged(true, other, 0.25, np.array([3, 4])) == 1).all(axis=3)
    assert left.sum(axis=(1, 2)).tolist() == [16, 16]
    for rows in left.any(axis=2):
        assert np.flatnonzero(rows).tolist() == list(range(rows.argmax(), rows.argmax() + 4))
    assert (damaged(true, other, 0.0, np.array([3, 4])) == 2).all()


class Told:
    """Answers that are known beforehand: the record, or with another colour."""

    def __init__(self, maker: PairMaker) -> None:
        self.maker, self.calls = maker, 0
        self.seen: set[int] = set()

    def sampled(self, rows: np.ndarray[Any, Any], categories: list[str]) -> list[Listing | None]:
        self.calls += 1
        self.seen |= set(rows.tolist())
        return [self._said(int(row), self.calls % 2 == 1) for row in rows]

    def of_views(self, rows: np.ndarray[Any, Any], categories: list[str], count: int, seed: int) -> Any:
        self.seen |= set(rows.tolist())
        return [tuple(self._said(int(row), view == 0) for view in range(count)) for row in rows]

    def _said(self, row: int, wrong: bool) -> Listing:
        listing = self.maker.listings[self.maker.rows[row]["product_id"]]
        colour = next(c for c in ("blue", "green") if c != listing.attributes["colour"])
        return replace(listing, attributes={**listing.attributes, **({"colour": colour} if wrong else {})})


@pytest.mark.parametrize("kind", ["verified", "views", "corrected"])
def test_pairs_of_own_answers_are_about_photos_that_tuning_never_saw(case: Case, kind: str) -> None:
    note = note_of(case.listing, 8, case.lessons.lesson)
    params = PreferencesParams(margin=0.0, batch_size=4)
    places = (case.root / name for name in ("data/checked", "data/refined", "data/embeddings"))
    maker = PairMaker(*places, note, params)
    told = Told(maker)
    pairs = list(maker.own(kind, told, 100))  # type: ignore[arg-type]
    learned = {sample.product_id for sample in (*case.lessons.whole, *case.lessons.asked)}
    train = {row["product_id"] for row in maker.rows if row["split"] == "train"}
    assert learned and pairs and {p.product_id for p in pairs} <= train - learned
    assert {maker.rows[i]["product_id"] for i in told.seen} == train - learned
    assert list(maker.order[: len(told.seen)]) == list(maker.unseen), "they come first"
    for pair in pairs:
        assert pair.kind == kind and pair.checks[0].endswith(": colour") and len(pair.checks) == 1
        right = maker.listings[pair.product_id].attributes["colour"]
        assert (f'"colour":"{right}"' in pair.chosen) or kind == "verified"
        assert pair.chosen != pair.rejected


def test_of_rejected_values_only_those_that_the_picture_speaks_against_are_kept(case: Case) -> None:
    note = note_of(case.listing, 8, case.lessons.lesson)
    places = (case.root / name for name in ("data/checked", "data/refined", "data/embeddings"))
    params = PreferencesParams(rejected="verified_values")
    maker = PairMaker(*places, note, params)
    known = {p.product_id for p in maker.swapped()}
    assert known, "some pictures speak against another product's colour"
    for pair in maker.swapped():
        position = next(i for i, row in enumerate(maker.rows) if row["product_id"] == pair.product_id)
        assert pair.checks == ("contradicts: colour",), "no picture of the shop tells a size"
        scores = maker.verifier.scores(position)["colour"]
        chosen, rejected = (json.loads(side)["attributes"]["colour"] for side in (pair.chosen, pair.rejected))
        assert scores[chosen] > scores[rejected]
    loose = PairMaker(
        *(case.root / n for n in ("data/checked", "data/refined", "data/embeddings")),
        note,
        PreferencesParams(),
    )
    assert len(known) < len({p.product_id for p in loose.swapped()})
