"""A server of bundles that does to whoever asks whatever a test says; over TLS where it has a certificate."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Serving:
    """What is answered, and what was asked. `answer` instead of `body` writes an answer of its own."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    etag: str | None = None
    answer: Callable[[BaseHTTPRequestHandler, threading.Event], None] | None = None
    asked: list[dict[str, str]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    url: str = ""


@contextmanager
def bundle_server(certificate: Path | None = None, serving: Serving | None = None) -> Iterator[Serving]:
    """Serve at `url` until the end. `certificate` has a certificate and its key."""
    state = serving or Serving()
    over = threading.Event()

    class Asked(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            state.asked.append(dict(self.headers))
            with suppress(OSError):
                if state.answer is not None:
                    state.answer(self, over)
                    self.close_connection = True
                else:
                    self._answer()

        def _answer(self) -> None:
            etag = state.etag or f'"{sha256(state.body).hexdigest()[:16]}"'
            unchanged = state.status == 200 and self.headers.get("If-None-Match") == etag
            status = 304 if unchanged else state.status
            body = b"" if status in (204, 304) else state.body
            state.statuses.append(status)
            self.send_response(status)
            self.send_header("ETag", etag)
            for name, value in state.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that refuses the certificate is part of the play."""

    server = Server(("127.0.0.1", 0), Asked)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    scheme = "http" if certificate is None else "https"
    state.url = f"{scheme}://127.0.0.1:{server.server_address[1]}/bundle.tar.gz"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
