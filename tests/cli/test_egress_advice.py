"""What `remit check` advises about services that are reached through the egress."""

from __future__ import annotations

from pathlib import Path

import pytest
from remit.cli.advice import advise
from remit.cli.egress_advice import advise_egress, advise_files
from remit.config.loading import load

HEAD = f"""\
currency: EUR
teams: {{cx: {{}}}}
agents: {{support: {{team: cx, identity: {{token_hash: "sha256:{"a" * 64}"}}}}}}
budgets: {{all: {{limit: 1}}}}
exchange: {{USD: {{EUR: 0.9}}}}
prices: [{{match: "*/", unit: call, amount: 0, currency: EUR}}]
services:
"""


def catalogue(place: Path, services: str) -> list[str]:
    """All advice on these services."""
    (place / "remit.yaml").write_text(HEAD + services)
    read = load([place / "remit.yaml"], {}, {})[1]
    return [*advise(read, 1_900_000_000 * 10**9), *advise_egress(read), *advise_files(read, place)]


@pytest.mark.parametrize(
    ("service", "advice"),
    [
        (
            'partner: {owner: cx, opaque: true, clearance: [], endpoints: {a: {url: "https://p.example"}}}',
            ["services.partner: opaque, so what goes through its tunnels is not read, and unmetered"],
        ),
        (
            "api: {owner: cx, metering: agent, credentials: [{environment: KEY}]}",
            ["services.api: metering: agent, although its credential is added here, where its calls are metered"],
        ),
        ("api: {owner: cx, metering: agent}", []),
        (
            'api: {owner: cx, endpoints: {a: {url: "http://api.example/v1"}}, credentials: [{environment: KEY}]}',
            ["services.api.endpoints.a: its credential goes over http://, where others can read it"],
        ),
        (
            'shop: {owner: cx, kind: grpc, endpoints: {a: {url: "grpc://10.1.2.3"}}, credentials: [{environment: K}]}',
            ["services.shop.endpoints.a: its credential goes over grpc://, where others can read it"],
        ),
        ('api: {owner: cx, endpoints: {a: {url: "http://[::1]:8"}}, credentials: [{environment: KEY}]}', []),
        ('api: {owner: cx, endpoints: {a: {url: "http://localhost:8"}}, credentials: [{environment: KEY}]}', []),
        ('api: {owner: cx, endpoints: {a: {url: "http://api.example"}}}', []),
        ('api: {owner: cx, endpoints: {a: {url: "https://api.example"}}, credentials: [{environment: KEY}]}', []),
        (
            "openai: {owner: cx, kind: openai, variants: {gpt-4o: {max: {outputtoken: 9}, inject: {output_token: 5}}}}",
            [
                "services.openai.variants.gpt-4o: outputtoken is no unit of its prices, so it bounds nothing: "
                "did you mean output_token?"
            ],
        ),
        (
            "openai: {owner: cx, kind: openai, variants: {gpt-4o: {}, unheard-of: {}}}",
            [
                "services.openai.variants.unheard-of: no price, so every call is denied (price_unknown); "
                "what is free says amount: 0"
            ],
        ),
    ],
    ids=str,
)
def test_what_is_weaker_than_it_looks_is_told(place: Path, service: str, advice: list[str]) -> None:
    """And nothing else; the public price of a model counts as one."""
    assert catalogue(place, f"  {service}\n") == advice


def test_a_dataset_s_passwords_are_looked_at_as_other_credentials_are(place: Path) -> None:
    """The reader's and the writer's, each by its place."""
    (place / "writer").write_text("0123456789")
    (place / "writer").chmod(0o644)
    (place / "remit.yaml").write_text(
        f"""{HEAD}  {{}}
datasets:
  d:
    owner: cx
    url: postgresql://reader@h/db
    credential: {{file: reader}}
    writer: {{url: postgresql://writer@h/db, credential: {{file: writer}}}}
    statements: {{forget: {{sql: DELETE FROM t}}}}
"""
    )
    read = load([place / "remit.yaml"], {}, {})[1]

    assert advise_files(read, place) == [
        f"datasets.d.credential: file {place}/reader: found No such file or directory, "
        "expected a file that can be read: until then every call is denied",
        f"datasets.d.writer.credential: file {place}/writer: found mode 644, which every user can read; "
        "expected 600 or 640",
    ]


@pytest.mark.parametrize(
    ("text", "mode", "advice"),
    [
        ("sk-0123456789", 0o600, []),
        ("sk-0123456789", 0o640, []),
        ("sk-0123456789", 0o644, ["found mode 644, which every user can read; expected 600 or 640"]),
        (
            "sk-0123456789",
            0o622,
            ["found mode 622, expected nobody but its owner to be able to write it: until then every call is denied"],
        ),
        ("", 0o600, ["found 0 bytes, expected at least 8 characters of printable ASCII on one line: until then"]),
        (
            None,
            0,
            ["found No such file or directory, expected a file that can be read: until then every call is denied"],
        ),
    ],
    ids=str,
)
def test_a_credentials_file_that_is_missing_or_open_to_others_is_told(
    place: Path, text: str | None, mode: int, advice: list[str]
) -> None:
    """By its place in the catalogue and on the disk, and without anything of it."""
    file = place / "api.key"
    if text is not None:
        file.write_text(text)
        file.chmod(mode)
    found = catalogue(
        place, "  api: {owner: cx, credentials: [{environment: KEY, when: {agent: support}}, {file: api.key}]}\n"
    )
    assert len(found) == len(advice)
    for line, told in zip(found, advice, strict=True):
        assert line.startswith(f"services.api.credentials[1]: file {file}: {told}")
        assert "0123456789" not in line


def test_authorities_that_are_missing_are_told(place: Path) -> None:
    api = "  api: {owner: cx, endpoints: {eu: {url: 'https://api.example', ca: own.pem}}}\n"
    told = [f"services.api.endpoints.eu.ca: {place / 'own.pem'} is no file; with it no egress starts"]
    assert catalogue(place, api) == told
    (place / "own.pem").write_text("")
    assert catalogue(place, api) == []


def test_a_key_that_cannot_sign_is_told(place: Path) -> None:
    (place / "aws.key").write_text("AKIA0000000000000000")
    (place / "aws.key").chmod(0o600)
    (line,) = catalogue(
        place, "  b: {owner: cx, kind: bedrock, credentials: [{file: aws.key, signing: {region: eu-west-1}}]}\n"
    )
    assert "found something else, expected ACCESS_KEY_ID:SECRET_ACCESS_KEY" in line and "AKIA" not in line
