"""Parameters of the chat models. Nothing has a default here that params.yaml does not show."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from components.stage.params import Params

Seconds = Annotated[float, Field(gt=0)]


class Budget(Params):
    """What all answers of one stage may cost, kept ones included; null = no limit.

    A kept answer counts as what it cost when it was bought. So a rerun under the same budget stops at the
    same place and pays nothing, and a raised budget goes on from there.
    """

    requests: int | None = Field(ge=1)
    tokens: int | None = Field(ge=1)  # of prompts and answers together, as the model counts them


class EndpointParams(Params):
    """An OpenAI-compatible endpoint (``POST {url}/chat/completions``)."""

    model: str = Field(min_length=1)
    url_env: str = Field(min_length=1)  # environment variable with the URL, such as http://host:8000/v1
    key_env: str | None  # environment variable with the key; null = no key is sent
    # How the server is told the JSON Schema; "none" leaves it to the prompt. Answers are checked either way.
    structured_output: Literal["json_schema", "json_object", "none"]
    pictures: bool  # whether the model sees pictures
    concurrency: int = Field(ge=1, le=1024)  # requests under way at once
    timeout_s: Seconds  # of one request, from its first byte out to its last byte in
    retries: int = Field(ge=0, le=20)  # after 429, 408, 5xx, a timeout or a broken connection
    backoff_s: Seconds  # a wait is uniform in 0..backoff_s * 2**retry (full jitter) ...
    backoff_max_s: Seconds  # ... and at most this; a longer Retry-After ends the work
    unreachable_after: int = Field(ge=1)  # requests in a row that used up their retries: the endpoint is gone


class LocalParams(Params):
    """A model folder read with transformers, in this process."""

    folder: str
    pictures: bool  # an image-text model; else a text model
    precision: Literal["bf16", "fp32"]
    constrained: bool  # decode under the JSON Schema (llguidance), so that only a cut can break an answer
    threads: int = Field(ge=1)


class LLMParams(Params):
    """Block ``llm``: which chat model answers, how it is asked, and what it may cost."""

    # offline: written rules in the place of each role, no language model
    backend: Literal["offline", "endpoint", "local"]
    endpoint: EndpointParams | None
    local: LocalParams | None
    temperature: float = Field(ge=0, le=2)
    max_tokens: int = Field(ge=1)  # of one answer
    seed: int  # raised by one at each re-ask
    reasks: int = Field(ge=0, le=10)  # after an answer that is cut, is no JSON or breaks the schema
    max_failed_fraction: float = Field(ge=0, le=1)  # items without a usable answer; above it the stage fails
    budget: Budget

    @model_validator(mode="after")
    def _backend_is_described(self) -> Self:
        if self.backend != "offline" and getattr(self, self.backend) is None:
            raise ValueError(f"backend is {self.backend}, so the block '{self.backend}' must be filled in")
        return self
