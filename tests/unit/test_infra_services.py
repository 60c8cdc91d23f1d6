"""The service files: loopback only, nothing secret in them, everything pinned, authentication on.

There is no container engine in the test suite, so the files are read as Compose and Kubernetes would read
them; tests/e2e/test_runner_services.py starts the very commands they name.
"""

from __future__ import annotations

import importlib
import os
import re
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow

PROJECT = Path(__file__).resolve().parents[2]
INFRA = PROJECT / "infra"
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::?(?P<how>[?-])(?P<rest>[^}]*))?\}")
SECRET = re.compile(r"(PASSWORD|SECRET|AUTH_STRING|TOKEN)$")


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((INFRA / "compose.yaml").read_text())
    return loaded


SERVICES: dict[str, dict[str, Any]] = compose()["services"]
each_service = pytest.mark.parametrize("name", sorted(SERVICES))


def env_example() -> dict[str, str]:
    lines = (INFRA / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


def test_the_services_of_a_team_are_all_there() -> None:
    assert {"postgres", "mlflow", "prefect", "cpu-worker", "gpu-worker"} <= set(SERVICES)


@each_service
def test_ports_are_bound_to_loopback_and_the_network_is_not_the_hosts(name: str) -> None:
    service = SERVICES[name]
    for port in service.get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), port
    assert service.get("network_mode") is None
    assert not service.get("privileged") and "docker.sock" not in str(service.get("volumes"))


@each_service
def test_a_service_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"] and "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"] and service["read_only"] is True
    assert "/tmp" in service["tmpfs"]
    user = VARIABLE.sub(lambda match: match["rest"], service["user"])
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), "not root"


def test_only_the_services_that_ask_the_database_share_a_network_with_it() -> None:
    assert compose()["networks"]["database"]["internal"] is True
    assert SERVICES["postgres"]["networks"] == ["database"]
    asking = {name for name, one in SERVICES.items() if "database" in one.get("networks", [])}
    assert asking == {"postgres", "mlflow", "prefect"}


@each_service
def test_images_name_an_exact_version(name: str) -> None:
    tag = SERVICES[name]["image"].rpartition(":")[2]
    assert re.match(r"\d+\.\d+", tag), SERVICES[name]["image"]


def test_docker_bases_and_the_servers_requirements_name_exact_versions() -> None:
    dockerfile = (INFRA / "Dockerfile").read_text()
    defaults = dict(re.findall(r"^ARG (\w+)=(\S+)", dockerfile, re.MULTILINE))
    named = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    bases = [re.sub(r"\$\{(\w+)\}", lambda match: defaults[match[1]], base) for base in named]
    assert defaults.items() <= env_example().items(), "compose gives the Dockerfile its own default"
    stages = set(re.findall(r"^FROM \S+ AS (\w+)", (INFRA / "Dockerfile").read_text(), re.MULTILINE))
    for base in bases:
        assert base in stages or re.search(r":\d+\.\d+\.\d+", base), base
    required = [
        line for line in (INFRA / "services.txt").read_text().splitlines() if not line.startswith("#")
    ]
    assert required and all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in required)


def test_the_servers_run_the_versions_that_the_project_is_tested_with() -> None:
    constraints = PROJECT / "constraints.txt"
    if not constraints.exists():
        pytest.skip("constraints.txt is not there")
    pins = dict(re.findall(r"^([\w.-]+)==([\w.]+)", constraints.read_text().lower(), re.MULTILINE))
    for line in (INFRA / "services.txt").read_text().lower().splitlines():
        package, _, version = line.partition("==")
        if package in pins:
            assert pins[package] == version, package
    targets = yaml.safe_load((PROJECT / "prefect.yaml").read_text())
    assert pins["prefect"] == targets["prefect-version"]


@each_service
def test_every_long_running_service_is_watched_and_restarted(name: str) -> None:
    service = SERVICES[name]
    if service["restart"].startswith("on-failure"):  # one-shot
        return
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD" and service["healthcheck"]["retries"] >= 3


@each_service
def test_a_dependency_is_waited_for_until_it_works(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        one_shot = SERVICES[other]["restart"].startswith("on-failure")
        wanted = "service_completed_successfully" if one_shot else "service_healthy"
        assert how["condition"] == wanted, other


def test_volumes_that_are_used_are_declared_and_files_that_are_mounted_exist() -> None:
    declared = set(compose()["volumes"])
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = VARIABLE.sub("VALUE", volume).split(":")[0]
            assert source in declared or source == "VALUE" or (INFRA / source).is_file(), volume


def test_no_secret_stands_in_the_files() -> None:
    for service in SERVICES.values():
        for key, value in service.get("environment", {}).items():
            if SECRET.search(key):
                assert VARIABLE.fullmatch(value), key
    text = "".join(path.read_text() for path in INFRA.rglob("*") if path.is_file() and path.name != ".env")
    assert not re.search(r"://[^/\s:@]+:[^@\s/$]+@", text), "a password in a URL"
    assert not any(SECRET.search(key) and value for key, value in env_example().items())


def test_variables_are_required_loudly_or_have_a_harmless_default() -> None:
    found = [match for text in strings(compose()) for match in VARIABLE.finditer(text)]
    named = {match["name"] for match in found}
    assert named == set(env_example()), "compose.yaml and .env.example name different variables"
    for match in found:
        if match["how"] == "-":
            assert not SECRET.search(match["name"]) and match["rest"], match[0]
        else:
            assert match["how"] == "?" and match["rest"], match[0]
    ignored = subprocess.run(["git", "check-ignore", "-q", "infra/.env"], cwd=PROJECT, check=False)
    assert ignored.returncode == 0, "git must ignore infra/.env"


def test_authentication_is_on() -> None:
    mlflow, prefect = SERVICES["mlflow"], SERVICES["prefect"]
    assert "--app-name=basic-auth" in mlflow["command"] and "--serve-artifacts" in mlflow["command"]
    assert {"MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"} <= set(mlflow["environment"])
    assert VARIABLE.fullmatch(prefect["environment"]["PREFECT_SERVER_API_AUTH_STRING"])
    for name in ("pools", "cpu-worker", "gpu-worker"):
        given = SERVICES[name]["environment"]["PREFECT_API_AUTH_STRING"]
        assert given == prefect["environment"]["PREFECT_SERVER_API_AUTH_STRING"]
    hosts = next(text for text in mlflow["command"] if text.startswith("--allowed-hosts="))
    assert "mlflow:5000" in hosts and hosts.rpartition("=")[2] != "*"
    admin = SERVICES["postgres"]["environment"]["POSTGRES_PASSWORD"]
    for service in (mlflow, prefect):  # a role of its own each, that sees nothing of the other
        given = service["environment"]["PGPASSWORD"]
        assert given in SERVICES["postgres"]["environment"].values() and given != admin
    assert mlflow["environment"]["PGUSER"] != prefect["environment"]["PGUSER"]
    assert SERVICES["postgres"]["environment"]["POSTGRES_INITDB_ARGS"] == "--auth-host=scram-sha-256"


def test_the_gpu_worker_reserves_the_gpu_and_starts_only_when_asked() -> None:
    worker = SERVICES["gpu-worker"]
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert (
        worker["profiles"] == ["gpu"] and device["driver"] == "nvidia" and device["capabilities"] == ["gpu"]
    )
    assert "deploy" not in SERVICES["cpu-worker"] and "profiles" not in SERVICES["cpu-worker"]


def test_databases_the_services_name_are_made() -> None:
    made = set(re.findall(r"CREATE DATABASE (\w+)", (INFRA / "postgres" / "databases.sql").read_text()))
    text = str(SERVICES) + (INFRA / "mlflow" / "basic_auth.ini").read_text()
    assert set(re.findall(r"postgresql\+\w+:///(\w+)", text)) == made
    sql = (INFRA / "postgres" / "databases.sql").read_text()
    roles, owners = (set(re.findall(rf"{what} (\w+)", sql)) for what in ("CREATE ROLE", "OWNER"))
    assert roles == owners == {SERVICES[name]["environment"]["PGUSER"] for name in ("mlflow", "prefect")}
    for role, name in re.findall(r"^\\getenv (\w+) (\w+)", sql, re.MULTILINE):
        assert role in roles and name in SERVICES["postgres"]["environment"]


def test_pools_and_deployments_agree() -> None:
    deployments = yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]
    pools = {deployment["work_pool"]["name"] for deployment in deployments}
    assert pools == {"cpu", "gpu"}
    for name, pool in (("cpu-worker", "cpu"), ("gpu-worker", "gpu")):
        assert SERVICES[name]["command"] == ["sh", "infra/worker.sh", pool]
    for deployment in deployments:
        module, _, flow = deployment["entrypoint"].rpartition(".")
        assert isinstance(getattr(importlib.import_module(module), flow), Flow), deployment["entrypoint"]


@pytest.mark.parametrize("script", ["worker.sh", "pools.sh", "pin.sh"])
def test_scripts_parse_stop_at_errors_and_may_be_executed(script: str) -> None:
    path = INFRA / script
    assert subprocess.run(["sh", "-n", str(path)], check=False).returncode == 0
    assert "set -eu" in path.read_text() and path.stat().st_mode & stat.S_IXUSR


def test_a_worker_without_its_clone_says_what_is_missing() -> None:
    env = {key: value for key, value in os.environ.items() if not key.startswith("VITRINE_")}
    done = subprocess.run([INFRA / "worker.sh", "gpu"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "VITRINE_RUNNER_CLONE" in done.stderr


def test_a_worker_refuses_a_repository_with_the_services_passwords(tmp_path: Path) -> None:
    (tmp_path / "infra").mkdir()
    (tmp_path / "infra" / ".env").write_text("POSTGRES_PASSWORD=x\n")
    env = {**os.environ, "VITRINE_GIT": str(tmp_path), "VITRINE_RUNNER_CLONE": str(tmp_path / "clone")}
    done = subprocess.run([INFRA / "worker.sh", "gpu"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "bare repository" in done.stderr
    assert not (tmp_path / "clone").exists()


def test_base_images_are_pinned_once_by_what_the_registry_says(tmp_path: Path) -> None:
    settings, docker = tmp_path / ".env", tmp_path / "docker"
    settings.write_text((INFRA / ".env.example").read_text())
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def _pinned(answer: str) -> subprocess.CompletedProcess[str]:
        docker.write_text(f"#!/bin/sh\necho {answer}\n")
        docker.chmod(0o755)
        return subprocess.run(
            [INFRA / "pin.sh", settings], env=env, capture_output=True, text=True, check=False
        )

    refused = _pinned("sha256:short")
    assert refused.returncode == 4 and "no digest of python:" in refused.stderr
    assert settings.read_text() == (INFRA / ".env.example").read_text()
    digest = "sha256:" + "0a" * 32
    assert _pinned(digest).returncode == 0
    named = re.findall(r"^(?:PYTHON|POSTGRES)_IMAGE=(.*)$", settings.read_text(), re.MULTILINE)
    assert [image.partition("@")[2] for image in named] == [digest, digest]
    pinned = settings.read_text()
    assert _pinned("sha256:" + "0b" * 32).returncode == 0 and settings.read_text() == pinned


def test_a_workers_health_is_asked_on_loopback_only(tmp_path: Path) -> None:
    prefect = tmp_path / "prefect"
    prefect.write_text('#!/bin/sh\necho "$PREFECT_WORKER_WEBSERVER_HOST $*"\n')
    prefect.chmod(0o755)
    subprocess.run(["git", "init", "-q", tmp_path / "clone"], check=True)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("VITRINE_", "PREFECT_"))}
    env = kept | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "VITRINE_RUNNER_CLONE": str(tmp_path / "clone")}
    done = subprocess.run([INFRA / "worker.sh", "gpu"], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("127.0.0.1 worker start --pool gpu")


def test_remotes_that_the_docs_name_have_an_extra() -> None:
    extras = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {re.split(r"[<>=]", one)[0] for one in extras["remotes"]}
    text = (PROJECT / "docs" / "operations.md").read_text()
    schemes = set(re.findall(r"\b(s3|ssh|gs|azure)://", text))
    assert named == {f"dvc-{scheme}" for scheme in schemes} and "remotes]" in text
    assert "remotes]" in (INFRA / "Dockerfile").read_text()


def test_nobody_may_connect_to_a_worker_of_kubernetes() -> None:
    policy = yaml.safe_load((INFRA / "k8s" / "network-policy.yaml").read_text())
    job = yaml.safe_load((INFRA / "k8s" / "gpu-job.yaml").read_text())
    assert (policy["apiVersion"], policy["kind"]) == ("networking.k8s.io/v1", "NetworkPolicy")
    assert policy["spec"]["podSelector"]["matchLabels"] == job["spec"]["template"]["metadata"]["labels"]
    assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"} and policy["spec"]["ingress"] == []
    assert all(rule["ports"] for rule in policy["spec"]["egress"]), "no rule lets everything out"


def test_the_kubernetes_job_is_one_unprivileged_worker_with_a_gpu() -> None:
    job = yaml.safe_load((INFRA / "k8s" / "gpu-job.yaml").read_text())
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    assert container["image"] == SERVICES["gpu-worker"]["image"]
    assert container["command"] == SERVICES["gpu-worker"]["command"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert pod["restartPolicy"] in ("OnFailure", "Never") and pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert "httpGet" not in container["livenessProbe"], "its health is asked on loopback"
    assert not any(SECRET.search(item["name"]) for item in container["env"])
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod["volumes"]}
