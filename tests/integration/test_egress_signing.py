"""Requests to Bedrock are signed by Envoy after ALLOW, with a key that no agent has and none of its documents holds."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes.aws import Bedrock, Signed, bedrock
from fakes.egress_up import TOKEN, EgressUp, egress_up, until

pytestmark = [pytest.mark.opa, pytest.mark.envoy]

REGION = "eu-west-1"
FIRST = ("AKIAFIRSTKEY00000000", "first+secret/of0the0tests000000000000000")
SECOND = ("ASIASECONDKEY0000000", "second+secret/of0the0tests00000000000000")
SESSION = "session+token/of0the0second0key0000000000=="
MODEL = "anthropic.claude-3:1"
SERVICES = """\
bedrock:
  owner: cx
  kind: bedrock
  endpoints: {{here: {{url: "{url}/base", region: eu}}}}
  credentials: [{{file: aws.key, signing: {{region: eu-west-1}}}}]
  variants: {{"anthropic.claude-3:1": {{inject: {{output_token: 100}}}}}}
"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[Bedrock]:
    with bedrock({FIRST[0]: FIRST[1], SECOND[0]: SECOND[1]}, REGION) as running:
        yield running


@pytest.fixture(scope="module")
def up(upstream: Bedrock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EgressUp]:
    place = tmp_path_factory.mktemp("signing")
    rotate(place, ":".join(FIRST))
    with egress_up(place, SERVICES.format(url=upstream.url)) as running:
        yield running


@pytest.fixture(autouse=True)
def _first_key(up: EgressUp, upstream: Bedrock) -> None:
    if (up.place / "aws.key").read_text() != ":".join(FIRST):
        rotate(up.place, ":".join(FIRST))
        until(lambda: converse(up).status_code == 200 and FIRST[0] in upstream.got[-1].headers["authorization"])
    upstream.got.clear()
    upstream.echo = ""


def rotate(place: Path, key: str) -> None:
    new = place / "aws.new"
    new.write_text(key)
    new.chmod(0o600)
    new.replace(place / "aws.key")


def converse(up: EgressUp, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    body = {"messages": [{"role": "user", "content": [{"text": "héllo"}]}], **more}
    path = f"/bedrock/model/{MODEL.replace(':', '%3A')}/converse"
    return httpx.post(up.base + path, json=body, headers=headers or {"remit-token": TOKEN}, timeout=20)


def only(upstream: Bedrock) -> Signed:
    (request,) = upstream.got
    return request


def test_a_permitted_request_arrives_signed_as_aws_wants_it(up: EgressUp, upstream: Bedrock) -> None:
    """The final path, host and body: what was put in is signed as well."""
    answer = converse(up)
    assert (answer.status_code, answer.json()["usage"]["inputTokens"]) == (200, 7), answer.text
    request = only(upstream)
    assert request.target == f"/base/model/{MODEL.replace(':', '%3A')}/converse"
    assert request.headers["host"] == f"127.0.0.1:{upstream.port}"
    assert json.loads(request.body)["inferenceConfig"] == {"maxTokens": 100}
    assert not [name for name in request.headers if name.startswith(("remit-", "x-remit", "x-envoy"))]


def test_the_signature_is_found_wrong_where_anything_that_it_covers_is_changed(up: EgressUp, upstream: Bedrock) -> None:
    """Else the test above would show nothing."""
    converse(up)
    right, keys = only(upstream), {FIRST[0]: FIRST[1]}
    assert right.wrong(keys, REGION) == ""
    other = {**right.headers, "host": "elsewhere"}
    assert Signed("POST", right.target, other, right.body).wrong(keys, REGION)
    assert Signed("POST", right.target.replace("base", "bas"), right.headers, right.body).wrong(keys, REGION)
    assert Signed("POST", right.target, right.headers, right.body + b" ").wrong(keys, REGION)
    assert right.wrong({FIRST[0]: SECOND[1]}, REGION)
    assert right.wrong(keys, "us-east-1")


def test_what_an_agent_signed_itself_never_leaves(up: EgressUp, upstream: Bedrock) -> None:
    """As an AWS client sends it that has some other key."""
    own = {
        "remit-token": TOKEN,
        "authorization": f"AWS4-HMAC-SHA256 Credential={SECOND[0]}/20260101/us-east-1/bedrock/aws4_request, "
        f"SignedHeaders=host;x-amz-date, Signature={'0' * 64}",
        "x-amz-date": "20260101T000000Z",
        "x-amz-security-token": "of-the-agent-itself",
        "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
    }
    assert converse(up, own).status_code == 200
    request = only(upstream)
    assert SECOND[0] not in request.headers["authorization"]
    assert request.headers["x-amz-date"] != own["x-amz-date"]
    assert "x-amz-security-token" not in request.headers
    assert TOKEN not in str(request)


@pytest.mark.parametrize(
    "of", ["Bearer {}", "AWS4-HMAC-SHA256 Credential={}/20261126/eu-west-1/bedrock/aws4_request, x"]
)
def test_the_token_in_an_aws_clients_key_is_enough_for_the_agent(up: EgressUp, upstream: Bedrock, of: str) -> None:
    """As a client sends it that has the variables of `remit env` alone."""
    assert converse(up, {"authorization": of.format("rmt_of_nobody")}).status_code == 401
    answer = converse(up, {"authorization": of.format(TOKEN)})
    assert answer.status_code == 200 and TOKEN not in str(only(upstream))


def test_a_chunked_request_is_signed_whole(up: EgressUp, upstream: Bedrock) -> None:
    said = [{"role": "user", "content": [{"text": "hi"}]}]
    body = json.dumps({"messages": said, "inferenceConfig": {"maxTokens": 9}})
    path = f"/bedrock/model/{MODEL}/converse"
    parts = (each.encode() for each in (body[:10], body[10:]))
    answer = httpx.post(
        up.base + path, content=parts, headers={"remit-token": TOKEN, "content-type": "application/json"}, timeout=20
    )
    assert answer.status_code == 200, answer.text
    assert only(upstream).body == body.encode()


def test_a_refused_request_is_neither_signed_nor_sent(up: EgressUp, upstream: Bedrock) -> None:
    answer = converse(up, guessed=True)
    assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (403, "AccessDeniedException")
    assert not upstream.got


def test_the_key_stands_in_none_of_envoys_documents_nor_in_what_it_tells(up: EgressUp) -> None:
    """Nor in the journal or the log; in its own file it is there for the sidecar's user alone."""
    converse(up)
    # A new one is written beside it, and takes its place.
    (file,) = [each for each in (up.directory / "signing").iterdir() if not each.name.endswith(".new")]
    assert FIRST[1] in file.read_text()
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    told = admin(up.directory / "admin.sock", "/config_dump?include_eds") + admin(up.directory / "admin.sock", "/stats")
    assert b"aws_request_signing" in told
    documents = b"".join(each.read_bytes() for each in up.directory.glob("*.json"))
    state = b"".join(each.read_bytes() for each in (up.place / ".remit").glob("state.db*"))
    for where in (told, documents, state, up.log.encode()):
        assert FIRST[0].encode() not in where and FIRST[1].encode() not in where


def test_an_answer_that_echoes_the_key_is_cut(up: EgressUp, upstream: Bedrock) -> None:
    upstream.echo = FIRST[1]
    try:
        told = converse(up).text
    except httpx.RemoteProtocolError:
        told = ""
    assert FIRST[1] not in told


def test_a_rotated_key_signs_within_a_second_and_a_session_token_goes_along(up: EgressUp, upstream: Bedrock) -> None:
    converse(up)
    rotate(up.place, ":".join((*SECOND, SESSION)))
    until(lambda: converse(up).status_code == 200 and SECOND[0] in upstream.got[-1].headers["authorization"], 1.5)
    assert upstream.got[-1].headers["x-amz-security-token"] == SESSION
    assert "x-amz-security-token" in upstream.got[-1].headers["authorization"]


def test_a_key_that_is_gone_or_none_denies_and_leaves_envoys_file_empty(up: EgressUp, upstream: Bedrock) -> None:
    rotate(up.place, "AKIAnothing")
    until(lambda: converse(up).status_code == 503, 2)
    # A new one is written beside it, and takes its place.
    (file,) = [each for each in (up.directory / "signing").iterdir() if not each.name.endswith(".new")]
    until(lambda: FIRST[1] not in file.read_text(), 2)
    answer = converse(up)
    assert "credential_unavailable" in answer.text and "AKIAnothing" not in answer.text
    (up.place / "aws.key").unlink()
    until(lambda: "no such file" in converse(up).text.lower(), 2)
    assert all(FIRST[0] in each.headers["authorization"] for each in upstream.got)
    (up.place / "aws.key").touch()


def test_another_region_holds_from_a_reload_on_and_cuts_nothing(up: EgressUp, upstream: Bedrock) -> None:
    """A request under way is answered; the next one is signed for the new region."""
    upstream.go.clear()
    with ThreadPoolExecutor(1) as waiting:
        under_way = waiting.submit(converse, up)
        until(lambda: len(upstream.got) == 1)
        up.reload(SERVICES.format(url=upstream.url).replace(REGION, "us-east-1"))
        upstream.go.set()
        assert under_way.result().status_code == 200
    upstream.region = "us-east-1"
    assert converse(up).status_code == 200
    assert "/us-east-1/bedrock/" in upstream.got[-1].headers["authorization"]
    upstream.region = REGION
    up.reload(SERVICES.format(url=upstream.url))
    assert converse(up).status_code == 200


def admin(path: Path, target: str) -> bytes:
    """What Envoy's admin answers."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(os.fspath(path))
        asking.sendall(f"GET {target} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: asking.recv(1 << 16), b""))
