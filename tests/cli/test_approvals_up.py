"""A real sidecar, asked by AuthZEN and approved from the command line: from a held call to the story of it."""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.request
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from .conftest import Remit
from .test_up import TOKEN, Up

pytestmark = pytest.mark.opa

ANA = "rmt_of_ana"
PEOPLE = f'people: {{ana: {{roles: [finance], identity: {{token_hash: "sha256:{sha256(ANA.encode()).hexdigest()}"}}}}}}'
CATALOGUE = f"""\
currency: EUR
teams: {{cx: {{}}}}
{PEOPLE}
agents:
  support:
    team: cx
    roles: [support]
    purposes: [support]
    identity: {{token_hash: "sha256:{sha256(TOKEN.encode()).hexdigest()}"}}
services:
  models:
    owner: cx
    endpoints: {{eu: {{url: "http://127.0.0.1:9", region: eu}}}}
    variants: {{small: {{}}, large: {{approval: {{roles: [finance]}}, cheaper: small}}}}
prices: [{{match: "models/*", unit: call, amount: 0.01, currency: EUR}}]
"""


def evaluate(base: str, variant: str, path: str = "/access/v1/evaluation", token: str = TOKEN) -> Any:
    """The answer to a call to the models."""
    asked = {
        "subject": {"type": "agent", "id": "support"},
        "action": {"name": "api.call"},
        "resource": {"type": "service", "id": "models", "properties": {"variant": variant}},
        "context": {"purpose": "support", "usage": {"call": 1}, "reason": "a letter"},
    }
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{base}{path}", json.dumps(asked).encode(), headers)
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


@pytest.mark.parametrize("console", ["false", "true"])
def test_a_held_call_is_approved_and_its_story_told(
    remit: Remit, place: Path, monkeypatch: pytest.MonkeyPatch, console: str
) -> None:
    """With people's pages on the port or without: refused with the approval's id, permitted once that is approved."""
    (place / "remit.yaml").write_text(CATALOGUE)
    (place / "ana.token").write_text(ANA)
    monkeypatch.setenv("REMIT_CONSOLE", console)
    up = Up(place, "--http", "127.0.0.1:0")
    try:
        (base,) = [each for each in up.said["addresses"] if each.startswith("http://")]

        held = evaluate(base, "large")
        assert held["decision"] is False, held
        assert held["context"]["cheaper"] == "small"
        (waits,) = held["context"]["approvals"]
        assert [each["approval"] for each in remit("approvals", "list", "--json").document] == [waits["id"]]

        approved = remit("approvals", "approve", waits["id"], "--reason", "fine", "--token-file", "ana.token")
        assert approved.code == 0, approved
        allowed = evaluate(base, "large")
        assert allowed["decision"] is True, allowed
        assert allowed["context"]["reservation"]["amount"] == "0.01"

        story = remit("explain", held["context"]["id"]).out
        for said in ("who  support of cx", "HOLD", waits["id"], "person ana approve: fine"):
            assert said in story, (said, story)
        assert f"used the grant  {waits['id']}" in remit("explain", allowed["context"]["id"]).out
        effects = remit("unresolved", "--json").document["effects"]
        assert [(each["decision"], each["state"]) for each in effects] == [(allowed["context"]["id"], "held")]

        with pytest.raises(urllib.error.HTTPError) as refused:
            evaluate(base, "large", token=ANA)
        assert refused.value.code == 403
        refused.value.close()
        assert remit("audit", "verify").code == 0
    finally:
        up.stop(signal.SIGTERM)
