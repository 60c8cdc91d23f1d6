"""Parameters of the chat models."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from components.stage.params import Params, Precision, Share

Seconds = Annotated[float, Field(gt=0)]


class Budget(Params):
    """What all answers of one stage may cost, cached ones included; null = no limit.

    A cached answer counts as what it cost when it was asked for. So a rerun under the same budget stops at
    the same place and pays nothing, and a raised budget goes on from there.
    """

    requests: PositiveInt | None = None
    tokens: PositiveInt | None = None  # of prompts and answers together, as the model counts them


class EndpointParams(Params):
    """An OpenAI-compatible endpoint (``POST {url}/chat/completions``)."""

    model: str = Field(min_length=1)
    # environment variable with the URL, such as http://host:8000/v1
    url_env: str = Field("VITRINE_LLM_URL", min_length=1)
    key_env: str | None = "VITRINE_LLM_KEY"  # environment variable with the key; null = no key is sent
    # How the server is told the JSON Schema; "none" leaves it to the prompt. Answers are checked either way.
    structured_output: Literal["json_schema", "json_object", "none"] = "json_schema"
    pictures: bool = True  # whether the model sees pictures
    concurrency: int = Field(64, ge=1, le=1024)  # requests under way at once
    timeout_s: Seconds = 120.0  # of one request, from its first byte out to its last byte in
    max_bytes: PositiveInt = (
        4_000_000  # of one response, unpacked; an answer of 300 tokens has a few thousand
    )
    retries: int = Field(6, ge=0, le=20)  # after 429, 408, 5xx, a timeout or a broken connection
    backoff_s: Seconds = 0.5  # a wait is uniform in 0..backoff_s * 2**retry (full jitter) ...
    backoff_max_s: Seconds = 60.0  # ... and at most this; a longer Retry-After ends the work
    unreachable_after: PositiveInt = 8  # requests in a row that used up their retries: the endpoint is gone


class LocalParams(Params):
    """A model folder read with transformers, in this process."""

    folder: str
    pictures: bool = True  # an image-text model; else a text model
    precision: Precision = "bf16"
    # decode under the JSON Schema (llguidance), so that only a cut can break an answer
    constrained: bool = True
    threads: PositiveInt = 2


class LLMParams(Params):
    """Block ``llm``: which chat model answers, how it is asked, and what it may cost."""

    # offline: written rules in the place of each role, no language model
    backend: Literal["offline", "endpoint", "local"] = "offline"
    endpoint: EndpointParams | None = None
    local: LocalParams | None = None
    temperature: float = Field(0.0, ge=0, le=2)
    max_tokens: PositiveInt = 300  # of one answer
    seed: int = 23  # raised by one at each re-ask
    reasks: int = Field(2, ge=0, le=10)  # after an answer that is cut, is no JSON or breaks the schema
    max_failed_fraction: Share = 0.02  # items without a usable answer; above it the stage fails
    budget: Budget = Budget()

    @model_validator(mode="after")
    def _backend_is_described(self) -> Self:
        if self.backend != "offline" and getattr(self, self.backend) is None:
            raise ValueError(f"backend is {self.backend}, so the block '{self.backend}' must be filled in")
        return self
