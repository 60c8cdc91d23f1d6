"""The stage ``fuse@NETWORK``: a network in the item tower, on the cached vectors of frozen towers."""

from __future__ import annotations

from pathlib import Path

import torch

from components.encoder.model.towers.files import load_encoder
from components.fusion.model.fuse.fusing import Fusing
from components.fusion.model.fuse.training_set import make_fuse_data, make_validation
from components.fusion.model.networks.create import create_network
from components.fusion.model.networks.files import TrainedNetwork, save_network
from components.fusion.model.params import FuseParams, FusionParams, NetworkName
from components.fusion.model.towers.towers import Towers
from components.stage.params import Params
from components.stage.paths import Paths
from components.stage.publish import published, write_text
from components.stage.record import Record
from components.stage.resume import sha256_folder
from components.training.curves import curves_csv, record_history
from components.training.resume import forget, training_folder


class Fuse(Params):
    """Parameters of the stage."""

    fusion: FusionParams
    fuse: FuseParams
    network: NetworkName
    towers: Path | None = None  # what the network stands on; null: the towers that ``align_image`` made


def run(params: Fuse, paths: Paths, record: Record) -> None:
    """Train one network, or go on from where a killed run stopped, and publish it and its curves."""
    fusion, fuse, name = params.fusion, params.fuse, params.network
    model, curves = paths.fusion / name, paths.plots / f"fuse_{name}.csv"
    torch.set_num_threads(fuse.threads)
    with record.timed("vectors"):
        loaded = load_encoder(params.towers or paths.fusion / "align_image")
        towers = Towers(loaded, fusion.text, fuse.encode, paths.cache / "vectors", fuse.threads)
        data = make_fuse_data(paths.catalogue, towers, fusion, fuse)
        network = create_network(name, towers.dimension, fuse.network, fuse.seed)
        validate = make_validation(paths.catalogue, towers, network)
        towers.close()
    blocks = (name, fusion.model_dump_json(), fuse.model_dump_json())
    inputs = (sha256_folder(paths.catalogue), loaded.model_sha256)
    resume = training_folder(record.stage, *blocks, *inputs)
    objective = Fusing(network, data, fuse, validate)
    with record.timed("train"):
        history = objective.loop(resume).run()
    with published(model) as folder:
        save_network(TrainedNetwork(name, network, fuse.network, fusion.text, loaded.model_sha256), folder)
    write_text(curves, curves_csv(history.steps, history.validation))
    forget(resume)
    record.outputs = [str(model), str(curves)]
    record.metrics["parameters"] = float(sum(p.numel() for p in network.parameters()))
    record.metrics["suspected_false_negatives"] = data.sampler.mined.suspected_share
    record_history(record, history, objective.plan.batch_size)
