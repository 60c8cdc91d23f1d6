"""An OpenAI-compatible server that misbehaves on demand."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

URL, KEY = "VITRINE_TEST_LLM_URL", "VITRINE_TEST_LLM_KEY"


@dataclass(frozen=True)
class Act:
    """What the server does with one request; ``text`` is an answer, unless something else is asked for."""

    text: str = ""
    finish: str = "stop"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None  # a body of its own in the place of the envelope
    hang_s: float = 0.0  # wait before answering
    drip: bool = False  # send the body byte by byte, and never to its end
    close: bool = False  # break the connection


Script = Callable[[int, dict[str, Any]], Act]


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # of five, the system refuses some of many connections that are made at once


class FaultyServer:
    """Counts everything; ``script(number, body)`` decides on the request of that number, from 0."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paid: Counter[str] = Counter()  # request bodies that were answered in full
        self.times: list[float] = []
        self.under_way = self.most_under_way = 0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # headers and body come in two writes

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                owner._answer(self, body)

            def log_message(self, *_: object) -> None:
                return

        self._http = _Http(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        """Refuse every connection from now on."""
        self._stopping.set()
        self._http.shutdown()
        self._http.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        with self._lock:
            number = len(self.bodies)
            self.bodies.append(body)
            self.headers.append({k.lower(): v for k, v in handler.headers.items()})
            self.times.append(time.monotonic())
            self.under_way += 1
            self.most_under_way = max(self.under_way, self.most_under_way)
        try:
            self._act(handler, body, self.script(number, body))
        except OSError:
            handler.close_connection = True  # the client went away
        finally:
            with self._lock:
                self.under_way -= 1

    def _act(self, handler: BaseHTTPRequestHandler, body: dict[str, Any], act: Act) -> None:
        self._stopping.wait(act.hang_s)
        if act.close or self._stopping.is_set():
            handler.close_connection = True
            return
        data = act.raw if act.raw is not None else envelope(act.text, act.finish)
        handler.send_response(act.status)
        for name, value in act.headers.items():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(data)))
        handler.end_headers()
        if act.drip:
            for byte in data[:-1]:
                handler.wfile.write(bytes([byte]))
                handler.wfile.flush()
                if self._stopping.wait(0.05):
                    return
        if act.status == 200 and act.raw is None:
            with self._lock:
                self.paid[json.dumps(body, sort_keys=True)] += 1
        handler.wfile.write(data)


def envelope(text: str, finish: str = "stop") -> bytes:
    """A chat completion; every answer costs 10 + 5 tokens."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    return json.dumps({"choices": [choice], "usage": usage}).encode()
