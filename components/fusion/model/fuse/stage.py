"""The stage ``fuse@NETWORK``: a network in the item tower, on the cached vectors of frozen towers."""

from __future__ import annotations

from pathlib import Path

import torch

from components.encoder.model.features.query_types import QueryTypes
from components.fusion.model.fuse.fusing import Fusing
from components.fusion.model.fuse.item_vectors import fused_vectors
from components.fusion.model.fuse.training_set import HeldOutSplit, make_fuse_data, read_validation
from components.fusion.model.networks.files import TrainedNetwork, save_network
from components.fusion.model.networks.layers import FusionNetwork, create_network
from components.fusion.model.params import FuseParams, FusionParams, NetworkName
from components.fusion.model.sources.teach import TaughtGate, teach_gate
from components.fusion.model.towers.aligned import load_towers
from components.fusion.model.towers.towers import Towers
from components.stage.files.publish import published, write_text
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.record import Record
from components.stage.resume import sha256_folder
from components.training.curves import curves_csv, record_history
from components.training.resume import forget, training_folder


class Blocks(Params):
    """The parameters of the stage; ``towers`` are aligned ones of a study, else the graph's own."""

    fusion: FusionParams
    fuse: FuseParams
    network: NetworkName
    towers: Path | None = None  # what the network stands on; null: the towers that ``align_image`` made


def run(params: Blocks, paths: Paths, record: Record) -> None:
    """Train one network, or go on from where a killed run stopped, teach its gate, and publish both."""
    fusion, fuse, name = params.fusion, params.fuse, params.network
    model, curves = paths.fusion / name, paths.plots / f"fuse_{name}.csv"
    torch.set_num_threads(fuse.threads)
    with record.timed("vectors"):
        loaded = load_towers(params.towers or paths.fusion / "align_image")
        towers = Towers(loaded, fusion.text, fuse.encode, paths.cache, fuse.threads)
        data = make_fuse_data(paths.catalogue, towers, fusion, fuse)
        network = create_network(name, towers.dimension, fuse.network, fuse.seed)
        held_out = read_validation(paths.catalogue, towers, fusion, fuse.pictures)
        typed = held_out is not None and fuse.gate is not None and "type" in fuse.gate.sources
        types = towers.query_types(paths.catalogue) if typed else None
        towers.close()
    blocks = (name, fusion.model_dump_json(), fuse.model_dump_json())
    inputs = (sha256_folder(paths.catalogue), loaded.model_sha256)
    resume = training_folder(record.stage, *blocks, *inputs)
    objective = Fusing(network, data, fuse, held_out.check(network) if held_out else None)
    with record.timed("train"):
        history = objective.loop(resume).run()
    with record.timed("gate"):
        taught = _taught(network, held_out, types, params, record)
    trained = TrainedNetwork(
        name,
        network,
        fuse.network,
        fusion.text,
        loaded.model_sha256,
        bm25=fusion.bm25,
        pictures=fuse.pictures,
        gate=taught.gate if taught else None,
        types=types if taught and taught.gate else None,
        validation=max(taught.vectors, taught.mixture) if taught else None,
    )
    with published(model) as folder:
        save_network(trained, folder)
    write_text(curves, curves_csv(history.steps, history.validation))
    forget(resume)
    record.outputs = [str(model), str(curves)]
    record.metrics["parameters"] = float(sum(p.numel() for p in network.parameters()))
    record.metrics["suspected_false_negatives"] = data.sampler.mined.suspected_share
    record_history(record, history, objective.plan.batch_size)


def _taught(
    network: FusionNetwork,
    held_out: HeldOutSplit | None,
    types: QueryTypes | None,
    params: Blocks,
    record: Record,
) -> TaughtGate | None:
    """The gate above a trained network, if it is asked for and pays, and what validation says of both."""
    if held_out is None or params.fuse.gate is None:
        return None
    items, questions = held_out.items, held_out.questions
    found = questions.evidence(items, items, fused_vectors(network.eval(), items), types)
    taught = teach_gate(found, questions.task, params.fuse.gate, params.fuse.seed)
    record.metrics["validation_vectors_ndcg_at_10"] = taught.vectors
    record.metrics["cross_validated_gate_ndcg_at_10"] = taught.mixture
    return taught
