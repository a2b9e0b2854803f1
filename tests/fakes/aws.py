"""Bedrock's runtime as far as a client sees it: it answers converse where the signature is right, by AWS's own rules.

The signature is computed here from what arrived (AWS, "Create a signed API request"); nothing of it is Envoy's.
"""

from __future__ import annotations

import hmac
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

ANSWER = {
    "output": {"message": {"role": "assistant", "content": [{"text": "hello"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 7, "outputTokens": 3, "totalTokens": 10},
    "metrics": {"latencyMs": 12},
}
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<id>\w+)/(?P<day>\d{8})/(?P<region>[a-z0-9-]+)/(?P<service>[a-z]+)/aws4_request, "
    r"SignedHeaders=(?P<names>[a-z0-9;-]+), Signature=(?P<signature>[0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class Signed:
    """A request that arrived: headers by name in lower case, those that came twice joined by a comma."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    def wrong(self, secrets: Mapping[str, str], region: str) -> str:
        """What is wrong with its signature, by the secret of each key; "" where nothing is."""
        found = _AUTHORIZATION.fullmatch(self.headers.get("authorization", ""))
        if found is None:
            return "it is not signed"
        if found["id"] not in secrets or (found["region"], found["service"]) != (region, "bedrock"):
            return f"it is signed by {found['id']} for {found['region']}/{found['service']}"
        names = found["names"].split(";")
        if names != sorted(names) or not {"host", "x-amz-date"} <= {*names}:
            return f"the signed headers are {names}"
        hashed = sha256(self.body).hexdigest()
        if self.headers.get("x-amz-content-sha256", hashed) != hashed:
            return "the body's hash is another one"
        path, _, query = self.target.partition("?")
        lines = [f"{name}:{' '.join(self.headers.get(name, '').split())}" for name in names]
        # Every service but S3 encodes the path once more than it is on the wire.
        canonical = "\n".join(
            (self.method, quote(path, safe="/-_.~"), _query(query), *lines, "", found["names"], hashed)
        )
        scope = f"{found['day']}/{region}/bedrock/aws4_request"
        date = self.headers["x-amz-date"]
        text = "\n".join(("AWS4-HMAC-SHA256", date, scope, sha256(canonical.encode()).hexdigest()))
        key = f"AWS4{secrets[found['id']]}".encode()
        for part in (found["day"], region, "bedrock", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        right = hmac.digest(key, text.encode(), "sha256").hex()
        return "" if hmac.compare_digest(right, found["signature"]) else "the signature is another one"


@dataclass
class Bedrock:
    """What is known of keys, and what arrived."""

    secrets: dict[str, str]
    region: str
    port: int = 0
    got: list[Signed] = field(default_factory=list)
    echo: str = ""
    """What an answer brings back besides."""
    go: threading.Event = field(default_factory=threading.Event)
    """Answers wait for it; it is set but where a test clears it."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def bedrock(secrets: Mapping[str, str], region: str) -> Iterator[Bedrock]:
    """Run it."""
    made = Bedrock(dict(secrets), region)
    made.go.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            names = {name.lower() for name in self.headers}
            headers = {name: ",".join(self.headers.get_all(name, [])) for name in names}
            request = Signed(self.command, self.path, headers, body)
            made.got.append(request)
            made.go.wait(20)
            wrong = request.wrong(made.secrets, made.region)
            text = {"message": wrong} if wrong else {**ANSWER, **({"echo": made.echo} if made.echo else {})}
            told = json.dumps(text).encode()
            self.send_response(403 if wrong else 200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def log_message(self, *_: object) -> None:
            """Tests look at `got`."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _query(query: str) -> str:
    pairs = [each.partition("=")[::2] for each in query.split("&")] if query else []
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))
