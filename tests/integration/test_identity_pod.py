"""A real sidecar in a pod: by the pod's token it knows who calls, at each of its listeners, and takes nobody else's."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from http.client import HTTPConnection
from pathlib import Path

import pytest
import remit
from fakes.cluster import FIRST, FakeApi, claims
from fakes.egress_book import Book, serving
from fakes.egress_up import EgressUp, until
from fakes.loop import in_loop
from fakes.ports import free_port

pytestmark = [pytest.mark.opa, pytest.mark.envoy]

CATALOGUE = """\
currency: EUR
teams: {cx: {contact: "#cx"}}
agents:
  support: {team: cx, purposes: [x], identity: {kubernetes: {namespace: agents, service_account: support, fresh: true}}}
  writer: {team: cx, purposes: [x], identity: {kubernetes: {namespace: agents, service_account: writer}}}
services:
  api:
    owner: cx
    endpoints: {here: {url: "http://localhost:BOOK", region: eu, addresses: [127.0.0.0/8]}}
    routes: [{path: "/{what}", operation: get, methods: [GET]}]
prices: [{match: "*/*", unit: call, amount: 0, currency: EUR}]
sidecar:
  watch: false
  kubernetes: {api: "API", credentials: "PLACE", token_file: token}
"""


class Pod(EgressUp):
    """Its sidecar."""

    def __init__(self, place: Path, api: FakeApi, book: Book) -> None:
        self._api, self._book = api, book
        self.grpc, self.http = free_port(), free_port()
        listen = ("--grpc", f"127.0.0.1:{self.grpc}", "--http", f"127.0.0.1:{self.http}")
        super().__init__(place, "", *listen)

    def say(self, services: str) -> None:
        """Write the catalogue."""
        text = CATALOGUE.replace("BOOK", str(self._book.port)).replace("API", self._api.url)
        (self.place / "remit.yaml").write_text(text.replace("PLACE", str(self._api.place)))

    def ask(self, port: int, path: str, body: object = None, **headers: str) -> tuple[int, str]:
        """Status and body."""
        connection = HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            if body is None:
                connection.request("GET", path, headers=names)
            else:
                kind = {"Content-Type": "application/json"}
                connection.request("POST", path, json.dumps(body), headers={**names, **kind})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def egress(self, **headers: str) -> tuple[int, str]:
        """A call that leaves."""
        return self.ask(self.port, "/api/thing", **headers)

    def authzen(self, who: str, **headers: str) -> tuple[int, str]:
        """One evaluation."""
        question = {
            "subject": {"type": "agent", "id": who},
            "action": {"name": "api.call"},
            "resource": {"type": "service", "id": "api", "properties": {"operation": "get"}},
            "context": {"purpose": "x"},
        }
        return self.ask(self.http, "/access/v1/evaluation", question, **headers)

    async def call(self, token: str | None = None) -> str:
        """What becomes of one over gRPC: the effect, or the error's kind."""
        try:
            async with remit.Agent.connect(f"127.0.0.1:{self.grpc}", token, timeout=20) as agent:
                found = await agent.authorize("api.call", "service:api", operation="get", purpose="x", check=False)
                return str(found.effect.name)
        except remit.RemitError as error:
            return type(error).__name__

    def metric(self, cause: str) -> int:
        """How often nobody was proved for a cause."""
        name = f'remit_identity_failures_total{{reason="{cause}"}} '
        lines = self.ask(self.http, "/metrics")[1].splitlines()
        return sum(int(float(line.removeprefix(name))) for line in lines if line.startswith(name))


def token(pod: str = "mine", account: str = "support", **more: object) -> str:
    return FIRST.sign(claims(time.time_ns(), account, pod=pod, **more))


@in_loop
async def test_a_pods_sidecar_knows_its_agent_everywhere_and_takes_no_other(tmp_path: Path) -> None:
    """Without a credential, with the pod's own, with any key; never by another pod's, or another agent's."""
    book = Book()
    (tmp_path / "token").write_text(token())
    async with FakeApi().serving() as api:
        with serving(book):
            pod = await asyncio.to_thread(Pod, tmp_path, api, book)
            try:
                await _known(pod)
                await _refused(pod)
                await _gone(pod, api)
            finally:
                await asyncio.to_thread(pod.stop)
    told = pod.log + "".join(json.dumps(each.body, default=str) for each in pod.records())
    assert token().split(".")[0] not in told, "a header that all tokens of the cluster have"
    who = {(each.body["subject"]["id"], each.body["subject"]["identity"]["method"]) for each in pod.decisions()}
    assert who == {("support", "kubernetes")}
    counted = [each.body for each in pod.records() if each.kind == "refused.identity"]
    assert counted[0]["detail"].startswith("mismatch: ")
    assert sum(each["count"] for each in counted) >= 20


async def _known(pod: Pod) -> None:
    assert (await asyncio.to_thread(pod.ask, pod.http, "/readyz"))[0] == 200
    assert await pod.call() == "ALLOW"
    assert await pod.call(token(jti="rotated")) == "ALLOW"
    status, body = await asyncio.to_thread(pod.authzen, "support")
    assert status == 200
    assert json.loads(body)["decision"] is True
    basic = "Basic " + base64.b64encode(b"remit:any").decode()
    for headers in (
        {},
        {"authorization": "Bearer any-key"},
        {"x_api_key": token()},
        {"authorization": basic},
        {"remit_token": token()},
    ):
        assert (await asyncio.to_thread(lambda headers=headers: pod.egress(**headers)))[0] == 200


async def _refused(pod: Pod) -> None:
    for wrong in (token("another"), token("another", "writer"), token(""), token("mine", "writer")):
        assert await pod.call(wrong) == "Unauthenticated"
        for name in ("remit_token", "x_api_key", "api_key"):
            headers = {name: wrong}
            assert (await asyncio.to_thread(lambda headers=headers: pod.egress(**headers)))[0] == 401
        assert (await asyncio.to_thread(pod.authzen, "support", authorization=f"Bearer {wrong}"))[0] == 403
    assert await asyncio.to_thread(pod.metric, "mismatch") == 20
    assert await pod.call("made-up") == "Unauthenticated"
    assert await pod.call(token(aud="another")) == "Unauthenticated"
    assert (await asyncio.to_thread(pod.authzen, "writer"))[0] == 403


async def _gone(pod: Pod, api: FakeApi) -> None:
    """The cluster cannot be asked: our own failure, told apart. Then it says that the pod is gone."""
    api.away = True
    await asyncio.to_thread(until, lambda: pod.egress()[0] == 503)
    assert await pod.call() == "Unavailable"
    assert (await asyncio.to_thread(pod.authzen, "support"))[0] == 503
    assert await asyncio.to_thread(pod.metric, "unavailable") >= 3
    api.deleted, api.away = {"mine"}, False
    await asyncio.to_thread(until, lambda: pod.egress()[0] == 401)
    assert await pod.call() == "Unauthenticated"
    assert await asyncio.to_thread(pod.metric, "revoked") >= 2


@in_loop
async def test_a_pod_that_proves_nobody_is_not_ready_and_is_once_it_does(tmp_path: Path) -> None:
    """The sidecar runs all the same: what it lacks may come, and people can look at it."""
    book = Book()
    (tmp_path / "token").write_text(token(account="nobody"))
    async with FakeApi().serving() as api:
        with serving(book):
            pod = await asyncio.to_thread(Pod, tmp_path, api, book)
            try:
                status, why = await asyncio.to_thread(pod.ask, pod.http, "/readyz")
                assert status == 503
                assert "system:serviceaccount:agents:nobody is no agent of the catalogue's" in why
                assert (await asyncio.to_thread(pod.egress))[0] == 401
                (tmp_path / "new").write_text(token())
                (tmp_path / "new").replace(tmp_path / "token")
                await asyncio.to_thread(until, lambda: pod.ask(pod.http, "/readyz")[0] == 200)
                assert (await asyncio.to_thread(pod.egress))[0] == 200
            finally:
                await asyncio.to_thread(pod.stop)
