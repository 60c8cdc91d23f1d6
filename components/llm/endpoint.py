"""Any OpenAI-compatible endpoint, through OpenAI's own client: pictures as data URLs, JSON Schema, retries.

The client makes the exchange and names what went wrong. Its own retries stay off: they neither hold back
other requests when a server asks to wait, nor end when it asks for hours or has stopped for good.
"""

from __future__ import annotations

import asyncio
import base64
import math
import os
import random
from collections import Counter
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import openai

from components.llm.chat import Message, Reply, Request, Usage, counted_tokens
from components.llm.errors import ChatConfigurationError, EndpointError, ReplyError
from components.llm.params import EndpointParams

RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
FATAL = frozenset({401, 403, 404, 405})  # key, permission or address: no other request will succeed
PACKINGS = frozenset({"", "identity", "gzip", "deflate"})  # at most 1000:1, so a chunk stays below 70 MB
COUNTED = ("prompt_tokens", "completion_tokens")
SIGNATURES = {b"\xff\xd8\xff": "jpeg", b"\x89PNG": "png", b"RIFF": "webp"}


class EndpointModel:
    """A chat model behind HTTP.

    Raises:
        ChatConfigurationError: an environment variable that ``params`` names is not set, or is no URL.
    """

    caches_answers = True

    def __init__(self, params: EndpointParams, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._params = params
        self.identity = f"endpoint:{params.model}:{params.structured_output}"
        self.concurrency, self.sees_pictures = params.concurrency, params.pictures
        self.counts: dict[str, int] = Counter()
        self._exhausted = 0  # requests in a row that used up their retries
        self._not_before = 0.0  # loop time that a Retry-After has asked everybody to wait for
        key = _environment(params.key_env) if params.key_env else ""
        self._client = openai.AsyncOpenAI(
            base_url=_url(params.url_env),
            api_key=key or "none",  # the client wants one, servers without keys ignore it
            organization="",  # nothing is taken from variables that the parameters do not name
            project="",
            max_retries=0,
            timeout=params.timeout_s,
            http_client=BoundedClient(params.max_bytes, params.concurrency, transport),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def reply(self, request: Request) -> Reply:
        """The answer to one request, tried again as the parameters say."""
        body, problem = self._body(request), ""
        for retry in range(self._params.retries + 1):
            await self._turn(retry)
            outcome = await self._attempt(body)
            if isinstance(outcome, Reply):
                self._exhausted = 0
                return outcome
            problem = outcome
        self._exhausted += 1
        tried = f"{problem} after {self._params.retries + 1} attempts"
        if self._exhausted >= self._params.unreachable_after:
            raise EndpointError(
                f"The endpoint of ${self._params.url_env} does not answer ({tried}, {self._exhausted} "
                "requests in a row); every answer so far is cached. Start it and run again."
            )
        raise ReplyError(tried)

    async def _turn(self, retry: int) -> None:
        """Wait before an attempt: full jitter, and for everybody what a Retry-After has asked for."""
        wait = backoff(retry, self._params.backoff_s, self._params.backoff_max_s) if retry else 0.0
        wait += max(0.0, self._not_before - asyncio.get_running_loop().time())
        if wait:
            await asyncio.sleep(wait)

    async def _attempt(self, body: dict[str, Any]) -> Reply | str:
        """One exchange: a reply, or why there is none and another attempt may help."""
        try:
            # the client times each read; a server that sends one byte a minute is caught only by this
            async with asyncio.timeout(self._params.timeout_s):
                response = await self._client.chat.completions.with_raw_response.create(**body)
        except (TimeoutError, openai.APITimeoutError):
            return self._count("timeout")
        except openai.APIConnectionError as error:
            if isinstance(error.__cause__, ReplyError):
                raise error.__cause__ from None
            return self._count("connection", type(error.__cause__ or error).__name__)
        except openai.APIStatusError as error:
            return self._refused(error.status_code, error.response.headers.get("retry-after", ""))
        return read_reply(response.http_response) or self._count("broken_response")

    def _refused(self, status: int, wait: str) -> str:
        """What an error status means: try again, give this request up, or give all of them up."""
        if status in FATAL:
            raise EndpointError(
                f"The endpoint of ${self._params.url_env} refuses with status {status} for model "
                f"'{self._params.model}'; check its URL, model name and key."
            )
        if status not in RETRIED:
            raise ReplyError(f"refused with status {status}")
        if (seconds := retry_after(wait)) > self._params.backoff_max_s:
            raise EndpointError(
                f"The endpoint of ${self._params.url_env} asks to wait {seconds:.0f} s, longer than "
                "llm.endpoint.backoff_max_s; every answer so far is cached. Run again later."
            )
        self._not_before = max(self._not_before, asyncio.get_running_loop().time() + seconds)
        return self._count(f"status_{status}")

    def _count(self, cause: str, detail: str = "") -> str:
        self.counts[cause] = self.counts.get(cause, 0) + 1
        return f"{cause.replace('_', ' ')} {detail}".strip()

    def _body(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._params.model,
            "messages": [_turn_of(m) for m in request.messages],
            "temperature": request.temperature,
            "max_tokens": request.max_tokens,
            "seed": request.seed,
        }
        if self._params.structured_output == "json_schema":
            form = {"name": request.task, "schema": dict(request.schema), "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        elif self._params.structured_output == "json_object":
            body["response_format"] = {"type": "json_object"}
        return body


class BoundedClient(httpx.AsyncClient):
    """``httpx.AsyncClient`` whose responses have at most ``max_bytes`` once they are unpacked.

    Answers are asked for unpacked; of those packed all the same, each chunk is counted as it is unpacked.
    """

    def __init__(
        self, max_bytes: int, connections: int, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        super().__init__(
            headers={"accept-encoding": "identity"},
            limits=httpx.Limits(max_connections=connections),
            transport=transport,
        )
        self._max_bytes = max_bytes

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Send ``request`` and read its response to the end.

        Raises:
            ReplyError: the response is larger than the limit, or packed in another way than by gzip.
        """
        response = await super().send(request, **{**options, "stream": True})
        try:
            content = await self._read(response)
        finally:
            await response.aclose()
        own = {"content-encoding", "content-length", "transfer-encoding"}  # true of the bytes as they came
        headers = [(name, value) for name, value in response.headers.multi_items() if name not in own]
        return httpx.Response(response.status_code, headers=headers, content=content, request=request)

    async def _read(self, response: httpx.Response) -> bytes:
        packing = response.headers.get("content-encoding", "").strip().lower()
        if packing not in PACKINGS:
            raise ReplyError(f"the answer is packed with {packing[:40]!r}, though it was asked for unpacked")
        content = bytearray()
        async for part in response.aiter_bytes():
            content += part
            if len(content) > self._max_bytes:
                raise ReplyError(f"the answer has more than llm.endpoint.max_bytes={self._max_bytes:,} bytes")
        return bytes(content)


def backoff(retry: int, base_s: float, most_s: float) -> float:
    """Seconds before retry 1, 2, ...: uniform in 0..min(most_s, base_s * 2**retry).

    Full jitter (Brooker, "Exponential Backoff And Jitter", 2015): after a storm, clients that back off in
    step would return in step.
    """
    return random.uniform(0, min(most_s, base_s * 2**retry))


def retry_after(header: str) -> float:
    """Seconds that a ``Retry-After`` header asks for (RFC 9110 §10.2.3); 0 when it is absent or unusable."""
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return 0.0
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0


def read_reply(response: httpx.Response) -> Reply | None:
    """The reply in a 200 response; None when it is cut off or of another shape.

    Raises:
        ReplyError: it counts tokens as nobody can, or its text is none that a file can hold.
    """
    try:
        data = response.json()
        choice = data["choices"][0]
        text = choice["message"].get("content") or ""
        usage = data.get("usage") or {}
        counted = Usage(*(counted_tokens(name, usage.get(name)) for name in COUNTED))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return None
    if not isinstance(text, str):
        return None
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ReplyError("the answer holds half of a character (a lone surrogate)") from None
    return Reply(text, choice.get("finish_reason") == "length", counted)


def _turn_of(message: Message) -> dict[str, Any]:
    if message.picture is None:
        return {"role": message.role, "content": message.text}
    picture = {"type": "image_url", "image_url": {"url": data_url(message.picture)}}
    return {"role": message.role, "content": [picture, {"type": "text", "text": message.text}]}


def data_url(picture: bytes) -> str:
    """A picture as a ``data:`` URL (RFC 2397), typed by its leading bytes."""
    kind = next((name for start, name in SIGNATURES.items() if picture.startswith(start)), "jpeg")
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode('ascii')}"


def _environment(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise ChatConfigurationError(f"The environment variable {name}, named in the block llm, is not set.")
    return value


def _url(name: str) -> str:
    url = _environment(name)
    if not url.startswith(("http://", "https://")):
        raise ChatConfigurationError(f"${name} must be a URL such as http://host:8000/v1.")
    return url.rstrip("/") + "/"
