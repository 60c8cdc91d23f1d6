"""What a chat model was told, in MLflow's registry of prompts: a new version only when the text is new."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.tracking.store import in_catalogue, once

SHA256 = "vitrine.sha256"  # tag of a version: hash of its text
LINKED = "mlflow.linkedPrompts"  # tag of runs and traces, by which the pages know their prompts


@dataclass(frozen=True)
class Prompt:
    """A version of a prompt in the registry; ``role`` is who was told it."""

    role: str
    name: str
    version: int
    text: str

    @property
    def address(self) -> str:
        """As MLflow's client loads it."""
        return f"prompts:/{self.name}/{self.version}"


def prompt_name(base: str, catalogue: str, stage: str, role: str) -> str:
    """``vitrine-demo-clarify-summarizer``; MLflow takes letters, digits, ``-``, ``_`` and ``.``."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", f"{in_catalogue(base, catalogue)}-{stage}-{role}")


def register_prompts(
    client: Any, names: Mapping[str, str], texts: Mapping[str, str], commit: str
) -> dict[str, Prompt]:
    """Role -> its prompt in the registry, made where no version has its text yet.

    Args:
        names: role -> name in the registry. texts: role -> what it was told. commit: of the code.
    """
    found = {}
    for role, text in texts.items():
        sha256, name = hashlib.sha256(text.encode()).hexdigest(), names[role]
        version = _known(client, name, sha256)
        if version is None:
            told = f"What the {role} was told at commit {commit[:12] or 'unknown'}."
            with once():
                made = client.register_prompt(name, text, commit_message=told, tags={SHA256: sha256})
            version = int(made.version)
        found[role] = Prompt(role, name, version, text)
    return found


def _known(client: Any, name: str, sha256: str) -> int | None:
    query = f"name = '{name}' AND tags.`mlflow.prompt.is_prompt` = 'true' AND tags.`{SHA256}` = '{sha256}'"
    versions = client.search_model_versions(query)
    return min((int(version.version) for version in versions), default=None)


def linked_prompts(prompts: Mapping[str, Prompt]) -> dict[str, str]:
    """The tag that links prompts to a run or a trace, as ``link_prompt_version_to_run`` writes it.

    That call looks for the run in the tracker of the process, whatever the client's own is.
    """
    linked = [{"name": one.name, "version": str(one.version)} for one in prompts.values()]
    return {LINKED: json.dumps(linked)} if linked else {}
