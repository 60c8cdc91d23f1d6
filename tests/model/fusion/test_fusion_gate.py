"""The mixture of sources: what it starts as, whom it ranks, and that it finds which source to believe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from components.encoder.model.features.held_out import Task
from components.fusion.model.errors import FusionDataError
from components.fusion.model.networks.files import TrainedNetwork, load_network, save_network
from components.fusion.model.networks.layers import create_network
from components.fusion.model.params import FuseParams, FusionParams, GateParams, NetworkParams
from components.fusion.model.sources.evidence import UNSEEN, SourceScores, candidates
from components.fusion.model.sources.gate import SourceGate
from components.fusion.model.sources.teach import Teacher, cross_validated, teach_gate
from components.retrieval.metrics import Qrels, judge, ndcg_at
from components.retrieval.ranking import top_k
from components.search.products import word_index
from components.search.search import gather, open_model, search
from tests.model.fusion.conftest import ENCODE

SOURCES = ("text", "image", "fused", "lexical")
PARAMS = GateParams(sources=SOURCES, depth=20, epochs=30, batch_size=20, folds=4)


def world(queries: int = 80, products: int = 60, seed: int = 0) -> tuple[SourceScores, Task]:
    """Half of the queries are answered by words, the others by pictures; vectors tell which half is which."""
    rng = np.random.default_rng(seed)
    grades = rng.integers(1, 4, (queries, products)) * (rng.random((queries, products)) < 0.1)
    grades[:, 0] = 3
    by_word = np.arange(queries) % 2 == 0
    vectors = rng.normal(0, 0.2, (queries, 4)).astype(np.float32)
    vectors[:, 0] += np.where(by_word, 1, -1)

    def _scores(noise: Any) -> Any:
        return (grades * 0.1 + rng.normal(0, 1, grades.shape) * np.broadcast_to(noise, grades.shape)).astype(
            np.float32
        )

    lexical = np.maximum(_scores(np.where(by_word, 0.02, 0.6)[:, None]), 0) * 10
    scores = {
        "text": _scores(0.5),
        "image": _scores(np.where(by_word, 0.6, 0.02)[:, None]),
        "fused": _scores(0.15),
        "lexical": lexical,
    }
    sees = {source: np.ones(products, bool) for source in SOURCES}
    at = grades.nonzero()
    qrels = Qrels.from_arrays(*at, grades[at], queries, products)
    names = [f"q{i}" for i in range(queries)]
    task = Task("queries", names, names, ["query"] * queries, qrels, None)
    return SourceScores(vectors, np.ones(queries, np.float32), scores, sees), task  # type: ignore[arg-type]


def test_log_probabilities_of_types_stay_as_they_are() -> None:
    evidence, _ = world()
    types = np.log(np.random.default_rng(5).random(evidence.scores["text"].shape)).astype(np.float32)
    evidence.scores["type"], evidence.sees["type"] = types, evidence.sees["text"]
    found = candidates(evidence, ("fused", "type"), 10)
    told = np.take_along_axis(types, found.at, axis=1)
    assert (found.scores[..., 1] == told).all()  # an unsure posterior is not blown up
    assert found.scores[..., 0][found.chosen].std() == pytest.approx(1, abs=0.2)


def ndcg(scores: Any, task: Task) -> float:
    return float(ndcg_at(judge(top_k(scores, 10), task.qrels), 10).mean())


def test_an_untaught_gate_is_the_sum_of_standardised_scores() -> None:
    evidence, _ = world()
    gate = SourceGate(4, SOURCES, depth=60, hidden=4).eval()
    total = sum((s - s.mean(axis=1, keepdims=True)) / s.std(axis=1, keepdims=True)
                for s in evidence.scores.values())  # fmt: skip
    assert np.array_equal(top_k(gate.rank(evidence), 60), top_k(total, 60))
    assert np.allclose(gate.source_weights(evidence), 0.25)


def test_candidates_are_the_best_of_both_first_stages_and_stand_above_all_others() -> None:
    evidence, _ = world(queries=3, products=12)
    lexical = evidence.scores["lexical"].copy()
    lexical[0] = 0  # no word of this query is known
    evidence = replace(evidence, scores={**evidence.scores, "lexical": lexical})
    found = candidates(evidence, SOURCES, 3)
    for query in range(3):
        own = set(found.at[query][found.chosen[query]].tolist())
        fused = set(np.argsort(-evidence.scores["fused"][query])[:3].tolist())
        words = {p for p in np.argsort(-lexical[query])[:3].tolist() if lexical[query, p] > 0}
        assert own == fused | words
        ranked = SourceGate(4, SOURCES, 3, 4).rank(evidence)[query]
        others = sorted(set(range(12)) - own, key=lambda p: -evidence.scores["fused"][query, p])
        assert set(np.argsort(-ranked)[: len(own)].tolist()) == own
        assert np.argsort(-ranked)[len(own) :].tolist() == others
    without = candidates(evidence, ("text", "fused"), 3)
    assert without.scores.shape == (3, 3, 2) and without.facts.shape == (3, 3)


def test_a_product_that_nothing_shows_comes_last_and_a_missing_source_says_nothing() -> None:
    evidence, _ = world(queries=4, products=10)
    sees = {source: there.copy() for source, there in evidence.sees.items()}
    for source in SOURCES:
        sees[source][3] = False
    sees["image"][5] = False
    fused = evidence.scores["fused"].copy()
    fused[:, 3] = UNSEEN
    evidence = replace(evidence, sees=sees, scores={**evidence.scores, "fused": fused})  # type: ignore[arg-type]
    ranked = SourceGate(4, SOURCES, 10, 4).rank(evidence)
    assert (ranked.argmin(axis=1) == 3).all() and np.isfinite(ranked).all()
    found = candidates(evidence, SOURCES, 10)
    assert not (found.chosen & (found.at == 3)).any()
    assert not found.scores[..., SOURCES.index("image")][found.at == 5].any()


def test_the_gate_learns_which_queries_to_answer_by_words() -> None:
    evidence, task = world()
    taught = teach_gate(evidence, task, PARAMS, seed=1)
    assert taught.gate is not None and taught.mixture > taught.vectors + 0.05
    assert taught.vectors == pytest.approx(ndcg(evidence.scores["fused"], task))
    fresh, asked = world(seed=9)
    equal = SourceGate(4, SOURCES, PARAMS.depth, 4).rank(fresh)
    assert ndcg(taught.gate.rank(fresh), asked) > ndcg(equal, asked) + 0.05
    weights = taught.gate.source_weights(fresh)
    words, pictures = weights[::2].mean(axis=0), weights[1::2].mean(axis=0)
    assert words[3] > pictures[3] and pictures[1] > words[1]


def test_a_query_is_never_ranked_by_a_gate_that_its_own_answers_taught() -> None:
    evidence, task = world(queries=24)
    teacher = Teacher(evidence, task, PARAMS, seed=1)
    before = cross_validated(teacher, 4)
    fold = np.random.default_rng((1, 13)).permutation(24) % 4
    own = np.flatnonzero(fold == 2)
    teacher._gains[torch.from_numpy(own)] = torch.rand_like(teacher._gains[torch.from_numpy(own)])
    after = cross_validated(teacher, 4)
    assert np.array_equal(before[own], after[own]) and not np.array_equal(before, after)


def test_there_is_no_gate_where_it_brings_nothing_or_has_too_few_queries() -> None:
    evidence, task = world()
    table = np.zeros((80, 60), np.float32)
    table[task.qrels.query, task.qrels.product] = task.qrels.grade
    perfect = replace(evidence, scores={**evidence.scores, "fused": table / 4})
    assert teach_gate(perfect, task, PARAMS, 1).gate is None
    few, asked = world(queries=7)
    assert teach_gate(few, asked, PARAMS, 1).gate is None
    with pytest.raises(ValueError, match="fused must be one"):
        GateParams(sources=("text", "lexical"))


def test_teaching_twice_gives_the_same_gate() -> None:
    evidence, task = world(queries=24)
    gates = [teach_gate(evidence, task, PARAMS, 1).gate for _ in range(2)]
    first, second = (gate.state_dict() for gate in gates if gate is not None)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture
def folder(blocks: dict[str, Any], tmp_path: Path) -> Path:
    """A network with a taught gate."""
    fusion, sizes = FusionParams.model_validate(blocks["fusion"]), NetworkParams(hidden=8, bilinear_rank=4)
    gate = teach_gate(*world(), PARAMS, 1).gate
    network = create_network("moe_bilinear", 4, sizes, 1)
    trained = TrainedNetwork("moe_bilinear", network, sizes, fusion.text, "towers", pictures=False, gate=gate)
    save_network(trained, tmp_path / "network")
    return tmp_path / "network"


def test_a_saved_gate_ranks_the_same(folder: Path) -> None:
    found, (evidence, task) = load_network(folder, "towers"), world()
    gate = teach_gate(evidence, task, PARAMS, 1).gate
    assert found.gate is not None and gate is not None and not found.pictures
    assert np.array_equal(found.gate.rank(evidence), gate.rank(evidence))


def test_a_gate_without_its_weights_is_refused(folder: Path) -> None:
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"hidden": 16', '"hidden": 17'))
    with pytest.raises(FusionDataError, match="cannot be loaded"):
        load_network(folder)
    config.write_text(config.read_text().replace('"lexical"', '"smell"'))
    with pytest.raises(FusionDataError, match="cannot be loaded"):
        load_network(folder)


def test_search_ranks_by_the_gate_and_says_so(trained: Path, shop: Path, blocks: dict[str, Any]) -> None:
    encode = FuseParams.model_validate(blocks["fuse"]).encode
    assert encode.model_dump() == ENCODE
    model = open_model(trained / "models/fusion", "moe_bilinear", encode, None, 1)
    gate = SourceGate(model.towers.dimension, SOURCES, 10, 4).eval()
    with torch.no_grad():
        gate.gate.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 3.0]))  # words above all
    model = replace(model, network=replace(model.network, gate=gate))
    found = search(model, "number 14", 3, {}, shop / "data/checked")
    catalogue = shop / "data/checked"
    index = word_index(catalogue, model.network.text.fields, model.network.bm25)
    evidence, _ = gather(model, "number 14", catalogue, index)
    ranked = gate.rank(evidence)[0]
    assert found.hits[0].product_id == "p0014"
    assert [hit.product_id for hit in found.hits] == [f"p{i:04d}" for i in np.argsort(-ranked)[:3]]
    assert found.ranked_by.startswith("Ranked by moe_bilinear's mixture: text ")
    assert "words (BM25) 87%" in found.ranked_by
