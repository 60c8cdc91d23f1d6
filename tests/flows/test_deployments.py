"""prefect.yaml: every deployment's flow loads, has a name of its own, and accepts its parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.exceptions import ParameterTypeError
from prefect.flows import load_flow_from_entrypoint

PROJECT = Path(__file__).resolve().parents[2]
DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]
POOLS = (PROJECT / "infra" / "pools.sh").read_text()


def loaded(deployment: dict[str, Any]) -> Any:
    return load_flow_from_entrypoint(deployment["entrypoint"])


def test_every_system_of_the_graph_has_a_deployment() -> None:
    graph = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
    found = [stage.get("meta", {}).get("system", []) for stage in graph.values()]
    systems = {name for item in found for name in ([item] if isinstance(item, str) else item)}
    names = {f"{loaded(d).name}/{d['name']}" for d in DEPLOYMENTS}
    assert {f"{system}/cpu" for system in systems - {"report"}} <= names  # the report needs everything
    assert {"pipeline/cpu", "gpu-stage/gpu"} <= names and len(names) == len(DEPLOYMENTS)


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda d: d["entrypoint"])
def test_a_deployment_has_a_pool_and_parameters_that_fit_its_flow(deployment: dict[str, Any]) -> None:
    assert deployment["work_pool"]["name"] in POOLS
    parameters = deployment.get("parameters", {})
    flow = loaded(deployment)
    if flow.name == "gpu-stage":
        parameters = {"stage": "s", "commit": "c", "fingerprint": {"a": "b"}, "pushed": []}
    given = flow.validate_parameters(parameters)
    assert parameters.items() <= given.items()
    if flow.name != "gpu-stage":
        assert parameters["system"] == ("all" if flow.name == "pipeline" else flow.name)


def test_an_unknown_system_is_refused_before_a_run_is_made() -> None:
    deployment = next(d for d in DEPLOYMENTS if d["entrypoint"].endswith("pipeline"))
    with pytest.raises(ParameterTypeError, match="system"):
        loaded(deployment).validate_parameters({"system": "vlclp"})
