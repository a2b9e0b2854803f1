"""What agents' containers are told is what `remit env` tells for a pod."""

from __future__ import annotations

from pathlib import Path

import yaml
from chart.rendering import by_hand, parsed, values_of
from remit.cli.egress_variables import egress_variables

KINDS = ("openai", "anthropic", "gemini", "azure", "bedrock")


def test_the_variables_are_those_of_remit_env(tmp_path: Path) -> None:
    services = {kind: {"owner": "ml-platform", "kind": kind} for kind in (*KINDS, "http", "mcp")}
    values = values_of("dev")
    values["catalogue"]["services"] = services
    (pod,) = [each for each in parsed(by_hand(values, tmp_path / "own")) if each["metadata"]["name"] == "agent"]
    told = {each["name"]: each["value"] for each in pod["spec"]["template"]["spec"]["containers"][0]["env"]}
    wanted = egress_variables(
        sorted((id, each["kind"]) for id, each in services.items()),
        http="127.0.0.1:7452",
        proxy="127.0.0.1:7453",
        token_file=None,
        pod=True,
    ).named
    own = {"REMIT_ADDRESS": "127.0.0.1:7450", "REMIT_TOKEN_FILE": "/var/run/remit/token"}
    assert told == {**wanted, **own}, yaml.safe_dump(told)
