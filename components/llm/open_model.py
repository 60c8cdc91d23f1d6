"""The chat model that the parameters name."""

from __future__ import annotations

from collections.abc import Mapping

from components.llm.chat import ChatModel
from components.llm.offline import OfflineModel, Rule
from components.llm.params import LLMParams


def open_model(params: LLMParams, rules: Mapping[str, Rule], version: str) -> ChatModel:
    """An endpoint, a local model, or the written ``rules`` of the caller (named by ``version``).

    Raises:
        ChatConfigurationError: an environment variable is missing.
        ChatModelFileError: the local folder cannot be used.
    """
    if params.backend == "endpoint":
        from components.llm.endpoint import EndpointModel

        assert params.endpoint is not None
        return EndpointModel(params.endpoint)
    if params.backend == "local":
        from components.llm.local import LocalModel

        assert params.local is not None
        return LocalModel(params.local)
    return OfflineModel(rules, version)
