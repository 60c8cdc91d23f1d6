"""A LoggedModel per trained model: made by the run that trained it, measured by the runs that evaluate it.

MLflow gets what a reviewer reads: name, lineage, parameters, the small configuration files, a card. The
weights stay in DVC, which holds them already and is named by its hash in the model's tags; copied here,
each training would cost its size twice. They enter MLflow when a model is registered (``registry``).
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from components.tracking.lineage.lockfile import Output, composed, listing, listing_md5, located
from components.tracking.publish import run_content as content
from components.tracking.publish.overview import NOTE
from components.tracking.publish.pending import Join
from components.tracking.publish.run_content import StageRun, artifacts
from components.tracking.store import CATALOGUE, MODE, once

FOLDER = "models"
STUDY = "study"
BARS, WIDE, MOST_LINES = "▁▂▃▄▅▆▇█", 40, 6  # of training curves as text: MLflow's notes show no picture
WEIGHTS, CONFIG = ".safetensors", "config.json"
SHOWN_BYTES = 100_000  # configuration files up to this size are copied beside the card
MODEL, DVC, VARIANT = "vitrine.model", "vitrine.dvc", "vitrine.variant"
VERSIONS = "mlflow.modelVersions"
PIPELINE = "vitrine.pipeline_run"
INHERITED = (PIPELINE, CATALOGUE, *(f"vitrine.{n}" for n in ("git_commit", "dirty", "profile", "stage")))


@dataclass(frozen=True)
class Trained:
    """A model folder among a stage's outputs; ``files`` are the names of its files."""

    output: Output
    files: tuple[str, ...]

    @property
    def path(self) -> str:
        """Where the folder is in the workspace."""
        return self.output.name

    @property
    def weights(self) -> list[str]:
        """The files of weights in the folder."""
        return [name for name in self.files if name.endswith(WEIGHTS)]


def trained_models(root: Path, join: Join) -> list[Trained]:
    """Folders below ``models/`` with weights and a configuration; an index or a left-out stage has none."""
    found = []
    for output in join.entry.outs if join.entry else ():
        if output.path.split("/")[0] == FOLDER and output.md5.endswith(".dir"):
            here = root / output.path
            names = listing(root, output) or [
                path.relative_to(here).as_posix() for path in here.rglob("*") if path.is_file()
            ]
            model = Trained(output, tuple(sorted(names)))
            if model.weights and any(Path(name).name == CONFIG for name in names):
                found.append(model)
    return found


def folders_read(root: Path, dep: Output) -> dict[str, str]:
    """Path -> DVC's hash of a folder that a stage read, and of every folder with weights inside of it.

    A study's evaluation reads the folder around many models; each was recorded by the stage that made it.
    """
    files = listing(root, dep) or composed(root, dep)
    inner = {parent for name in files if name.endswith(WEIGHTS) for parent in Path(name).parents}
    found = {dep.name: dep.md5}
    for folder in sorted(parent.as_posix() for parent in inner if parent != Path()):
        below = {n.removeprefix(f"{folder}/"): h for n, h in files.items() if n.startswith(f"{folder}/")}
        found[f"{dep.name}/{folder}"] = listing_md5(below)
    return found


def model_name(catalogue: str, path: str) -> str:
    """``fashion-vlclip-full`` for ``models/vlclip/full``: MLflow takes no slash and no dot."""
    parts = [catalogue, *Path(path).parts[1:]]
    return re.sub(r"[/:.%\"']", "_", "-".join(filter(None, parts))) or "model"


def variant_of(path: str, variants: Mapping[str, str]) -> str:
    """The name under which metrics files state the figures of a model.

    ``models/study/fusion/43/moe_bilinear`` is ``moe_bilinear_43``, as the study's evaluation calls it.
    """
    *around, name = _inside(path)[1:] or [Path(path).name]
    return variants.get(Path(path).as_posix()) or "_".join([name, *around])


def _inside(path: str) -> list[str]:
    """Folders from the system on: ``vlclip`` and ``full_43`` of ``models/study/vlclip/full_43``."""
    parts = Path(path).parts[1:]
    return list(parts[1:] if parts[0] == STUDY and len(parts) > 1 else parts)


def find(client: Any, experiments: list[str], tag: str, value: str) -> list[Any]:
    """Models whose tag has a value, the first made first; [] where MLflow's filter cannot say the value."""
    order = [{"field_name": "creation_timestamp", "ascending": True}]
    query = f"tags.`{tag}` = '{value}'"
    return [] if "'" in value else list(client.search_logged_models(experiments, query, order_by=order))


def log_model(stage: StageRun, root: Path, trained: Trained) -> Any:
    """Make, or complete, the LoggedModel of one folder that the stage trained."""
    from mlflow.entities import LoggedModelOutput

    client, run, record, join = stage.client, stage.run, stage.record, stage.join
    experiment, own = run.info.experiment_id, f"{record.id}:{trained.path}"
    system = _inside(trained.path)[0]
    known = find(client, [experiment], "vitrine.trained", own)
    if known:
        model = known[0]
    else:
        tags = content.tags(record, join)
        kept = {key: tags[key] for key in tags if key in INHERITED or key.startswith(content.DEP)}
        kept |= {MODEL: trained.path, DVC: trained.output.md5, VARIANT: Path(trained.path).name}
        kept |= {"vitrine.trained": own, "vitrine.weights": ", ".join(trained.weights)}
        kept |= {"vitrine.bytes": str(trained.output.size or ""), NOTE: card(stage, trained)}
        facts = {
            "name": model_name(join.catalogue, trained.path),
            "source_run_id": run.info.run_id,
            "tags": content.cleaned(kept, content.TAG_LENGTH),
            "params": content.parameters(record, join),
            "model_type": system,
        }
        with once():
            model = client.create_logged_model(experiment, **facts)
    if str(model.status) != "READY":
        with artifacts(client.log_model_artifacts, model.model_id) as folder:
            (folder / "README.md").write_text(model.tags[NOTE], encoding="utf-8")
            for path, file in located(root, trained.output).items():
                target = folder / Path(path).relative_to(trained.path)
                if target.suffix == ".json" and file.stat().st_size <= SHOWN_BYTES:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, target)
            write_signature(folder, (system, Path(trained.path).name), model, trained.weights)
        model = client.finalize_logged_model(model.model_id, "READY")
    outputs = client.get_run(run.info.run_id).outputs
    if model.model_id not in [one.model_id for one in (outputs.model_outputs if outputs else ())]:
        client.log_outputs(run.info.run_id, [LoggedModelOutput(model.model_id, 0)])
    return model


def card(stage: StageRun, trained: Trained) -> str:
    """What the model is, how to have it, and how its training went, in Markdown."""
    run, join = stage.run, stage.join
    commit = join.code.commit[:12] or "unknown"
    size = f", {trained.output.size / 1e6:.1f} MB" if trained.output.size else ""
    training = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    lines = [
        f"`{trained.path}` of catalogue **{join.catalogue or 'unnamed'}**, trained by stage `{join.stage}`.",
        "",
        f"- Weights: {', '.join(f'`{name}`' for name in trained.weights)} (safetensors{size}, no pickle).",
        f"- Held by DVC as `{trained.output.md5}`; `dvc checkout {trained.path}` at commit `{commit}`"
        f"{' (it had uncommitted changes)' if join.code.dirty else ''} brings them back.",
        "- Registered (`vitrine register`), the files are copied here, under `model/`.",
        f"- Parameters: run [{run.info.run_name}]({training}?{MODE}). "
        "Examples of what it answers, once it was measured: *Artifacts*, `examples/`.",
    ]
    if curves := sparklines(stage.record.curves):
        lines += ["", f"Training ([as charts]({training}/model-metrics?{MODE})):", "", "```"]
        lines += [*curves, "```"]
    return "\n".join(lines)


def sparklines(curves: Mapping[str, Sequence[Mapping[str, float]]]) -> list[str]:
    """One line for each curve: its name, its course, its first and its last value; [] without curves."""
    told = {
        name: [p["value"] for p in points if math.isfinite(p.get("value", math.nan))]
        for name, points in curves.items()
    }
    told = {name: values for name, values in list(told.items())[:MOST_LINES] if len(values) > 1}
    wide = max(map(len, told), default=0)
    return [
        f"{name:<{wide}}  {line(values):<{WIDE}}  {values[0]:.4g} → {values[-1]:.4g}"
        for name, values in told.items()
    ]


def line(values: Sequence[float]) -> str:
    """At most ``WIDE`` bars, each the mean of its part of the values; the lowest is the smallest of them."""
    parts = min(WIDE, len(values))
    cuts = [round(i * len(values) / parts) for i in range(parts + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(cuts)]
    low, high = min(means), max(means)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((mean - low) * scale)] for mean in means)


def write_signature(folder: Path, place: tuple[str, str], model: Any, weights: Sequence[str]) -> None:
    """Write ``MLmodel``, which tells MLflow what goes into a model and what comes out, into ``folder``.

    It names the weights as a flavor of its own, ``safetensors``: no library of MLflow's loads them, and
    nothing in it is pickled. A system that is not known gets none.

    Args:
        place: system and name: the first folder below ``models``, and the last. model: MLflow's LoggedModel.
    """
    import numpy as np
    from mlflow.models import Model, ModelSignature
    from mlflow.types import DataType
    from mlflow.types.schema import Array, ColSpec, Map, Schema, TensorSpec

    system, name = place
    picture, text = ColSpec("binary", "image"), ColSpec("string", "text")
    either = [ColSpec("binary", "image", required=False), ColSpec("string", "text", required=False)]
    vector = [TensorSpec(np.dtype("float32"), (-1, _vector_size(folder)), "vector")]
    box = [ColSpec(Array(DataType.double), "box"), ColSpec("double", "score")]
    listed = [ColSpec("string", "title"), ColSpec(Map(DataType.string), "attributes")]
    known: dict[str, tuple[Sequence[Any], Sequence[Any]]] = {
        **dict.fromkeys(("encoder", "vlclip", "fusion", "align_image"), (either, vector)),
        "align_text": ([text], vector),
        "grounder": ([picture, ColSpec("string", "product_type")], box),
        "listing": ([picture, ColSpec("string", "category")], listed),
    }
    kind = name if name in known and name.startswith("align") else system
    if kind in known:
        signature = ModelSignature(*(Schema(list(columns)) for columns in known[kind]))
        made = Model(
            run_id=model.source_run_id, signature=signature, model_uuid=None, model_id=model.model_id
        )
        made.add_flavor("safetensors", files=list(weights))
        made.save(str(folder / "MLmodel"))


def _vector_size(folder: Path) -> int:
    """Numbers of the vectors that a model makes, as its ``config.json`` says it; -1 where it does not."""
    for path in sorted(folder.rglob(CONFIG), key=lambda path: len(path.parts)):
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            continue
        if isinstance(config, dict):
            towers = config.get("architecture") or {}
            heads = (towers.get("heads") or {}).get("embed_dim")  # behind the towers, where there are heads
            sizes = (config.get("dimension"), heads, towers.get("embed_dim"))
            return next((size for size in sizes if isinstance(size, int)), -1)
    return -1
