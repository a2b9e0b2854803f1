"""A Kubernetes API server, asked over HTTP."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from dataclasses import dataclass
from typing import Any

from cluster.place import Place


@dataclass(frozen=True)
class Answer:
    """What the server said; of an error, `body` is its Status."""

    status: int
    body: Any

    @property
    def message(self) -> str:
        """Why not, as the server says it; empty if there is no such word."""
        return str(self.body.get("message", "")) if isinstance(self.body, dict) else str(self.body)


class _Connection(http.client.HTTPSConnection):
    def __init__(self, place: Place, host: str, port: int, context: ssl.SSLContext, seconds: float) -> None:
        super().__init__(host, port, context=context, timeout=seconds)
        self._place, self._tls = place, context

    def connect(self) -> None:
        plain = self._place.dial(self.host, self.port, self.timeout or 10)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)


class Api:
    """One client, one connection that is kept. The certificate, if there is one, says who asks; else a token does."""

    def __init__(self, place: Place, host: str, port: int, context: ssl.SSLContext, seconds: float = 30) -> None:
        self._connection = _Connection(place, host, port, context, seconds)

    def request(self, method: str, path: str, body: object = None, *, token: str = "", kind: str = "") -> Answer:
        """Ask once. `kind` is the body's media type, if it is not plain JSON. Raises OSError if nobody answers."""
        headers = {"Accept": "application/json, */*", "Content-Type": kind or "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        try:
            self._connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = self._connection.getresponse()
            read = answer.read()
        except (OSError, http.client.HTTPException) as e:
            self._connection.close()
            raise OSError(f"{method} {path}: {e!r}") from e
        is_json = "json" in answer.getheader("Content-Type", "")
        return Answer(answer.status, json.loads(read) if is_json else read.decode(errors="replace"))

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()
