"""`remit env`: an agent's environment and credential."""

from __future__ import annotations

import json
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest
from remit.cli.addresses import FILE, write_addresses
from remit.cli.egress_variables import Secret, fish
from remit.cli.env import written

from .conftest import Remit

CATALOGUE = "currency: EUR\nteams: {cx: {}}\nagents: {support: {team: cx}}\n"


def test_a_new_token_lies_in_its_file_alone(remit: Remit, place: Path) -> None:
    """The token is in a file of mode 600 and in no output; its hash is told as the catalogue has it."""
    ended = remit("env", "--new-token", "--token-file", "support.token")

    token = (place / "support.token").read_text().strip()
    assert ended.code == 0
    assert (place / "support.token").stat().st_mode & 0o777 == 0o600
    assert token.startswith("rmt_")
    assert len(token) == 4 + 43
    assert token not in ended.out + ended.err
    assert ended.err == f"token_hash: sha256:{sha256(token.encode()).hexdigest()}\n"


def test_tokens_differ(remit: Remit, place: Path) -> None:
    """No two tokens are alike."""
    for name in ("a", "b"):
        remit("env", "--new-token", "--token-file", name)

    assert (place / "a").read_text() != (place / "b").read_text()


def test_a_token_file_is_never_overwritten(remit: Remit, place: Path) -> None:
    """A file that is there stays: agents may be using it."""
    (place / "t").write_text("rmt_old")

    assert remit("env", "--new-token", "--token-file", "t").code == 2
    assert (place / "t").read_text() == "rmt_old"


def test_show_prints_the_token(remit: Remit, place: Path) -> None:
    """Only --show prints it."""
    (place / "t").write_text("rmt_mine\n")

    assert remit("env", "--token-file", "t").out.splitlines()[1] == f"export REMIT_TOKEN_FILE={place / 't'}"
    assert "REMIT_TOKEN=rmt_mine" in remit("env", "--token-file", "t", "--show").out


@pytest.mark.parametrize("value", ["plain", "it's", 'a "b" $c `d` \\e', "a b;c"])
def test_a_shell_reads_back_what_was_meant(value: str) -> None:
    """Values are quoted: a path with a space or a quote is no command."""
    script = written({"REMIT_X": value}, "sh", "") + '\nprintf %s "$REMIT_X"'

    assert subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout == value


def test_fish_and_json(remit: Remit, place: Path) -> None:
    """The other forms: fish, and JSON with the hash of a new token."""
    assert written({"A": "it's \\"}, "fish", "") == "set -gx A 'it\\'s \\\\'"
    document = json.loads(remit("env", "--new-token", "--token-file", "t", "--shell", "json").out)
    assert sorted(document) == ["REMIT_ADDRESS", "REMIT_TOKEN_FILE", "token_hash"]


def test_the_address_is_where_the_sidecar_listens(remit: Remit, place: Path) -> None:
    """What a sidecar wrote down when it started wins; else the agents' socket, else what the settings say."""
    assert remit("env").out == f"export REMIT_ADDRESS=unix:{place}/.remit-run/remit.sock\n"
    (place / "remit.yaml").write_text(
        CATALOGUE + "sidecar: {socket: off, grpc: '0.0.0.0:7777', tls: {cert: c, key: k}}\n"
    )
    assert remit("env").out == "export REMIT_ADDRESS=127.0.0.1:7777\n"
    (place / "kept").mkdir()
    write_addresses(place / "kept", ("127.0.0.1:9", "http://127.0.0.1:8", "unix:/run/x"))
    assert remit("env", "--state", "kept").out == "export REMIT_ADDRESS=unix:/run/x\n"
    (place / "kept" / FILE).write_text("[")
    assert remit("env", "--state", "kept").out == "export REMIT_ADDRESS=127.0.0.1:7777\n"


def test_an_agent_must_be_in_the_catalogue(remit: Remit, place: Path) -> None:
    """A misspelt agent is told, with those that there are, and no token is made."""
    (place / "remit.yaml").write_text(CATALOGUE)

    assert remit("env", "--agent", "support").code == 0
    ended = remit("env", "--agent", "suport", "--new-token", "--token-file", "t")
    assert ended.code == 2
    assert "expected one of support" in ended.err
    assert not (place / "t").exists()


def test_a_first_token_needs_no_finished_catalogue(remit: Remit, place: Path) -> None:
    """The catalogue that waits for the hash is not in the way of making it."""
    (place / "remit.yaml").write_text(CATALOGUE.replace("team: cx}", 'team: cx, identity: {token_hash: "sha256:…"}}'))

    ended = remit("env", "--agent", "support", "--new-token", "--token-file", "support.token")

    assert ended.code == 0
    assert "token_hash: sha256:" in ended.err


SERVICES = (
    CATALOGUE
    + """services:
  models: {owner: cx, kind: openai}
  spare: {owner: cx, kind: openai}
  claude: {owner: cx, kind: anthropic}
  gemini: {owner: cx, kind: gemini}
  azure: {owner: cx, kind: azure}
  bedrock: {owner: cx, kind: bedrock}
  shop: {owner: cx, kind: http}
"""
)
KEYS = ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "AZURE_OPENAI_API_KEY", "AWS_ACCESS_KEY_ID"]
PROXIES = ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"]


@pytest.fixture
def egress(place: Path) -> Path:
    """A place with services of every kind and a token whose file has a name that needs quotes."""
    (place / "remit.yaml").write_text(SERVICES)
    (place / "it's mine").write_text("rmt_mine\n")
    return place


def test_official_clients_find_their_services(remit: Remit, egress: Path) -> None:
    """Each client's own variable, with its own habit of a base URL; the key is the agent's credential."""
    told = json.loads(remit("env", "--egress", "--token-file", "it's mine", "--show", "--shell", "json").out)

    base = "http://127.0.0.1:7452"
    assert {name: url for name, url in told.items() if str(url).startswith(base)} == {
        "REMIT_EGRESS": base,
        "OPENAI_BASE_URL": f"{base}/models/v1",
        "ANTHROPIC_BASE_URL": f"{base}/claude",
        "GOOGLE_GEMINI_BASE_URL": f"{base}/gemini",
        "AZURE_OPENAI_ENDPOINT": f"{base}/azure",
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": f"{base}/bedrock",
        "ANTHROPIC_BEDROCK_BASE_URL": f"{base}/bedrock",
    }
    assert [told[key] for key in KEYS] == ["rmt_mine"] * 5
    assert told["AWS_SECRET_ACCESS_KEY"] == "remit" and "AWS_BEARER_TOKEN_BEDROCK" not in told
    assert [told[proxy] for proxy in PROXIES] == ["http://remit:rmt_mine@127.0.0.1:7453"] * 4
    assert told["NO_PROXY"] == told["no_proxy"] == "127.0.0.1,localhost,::1"


def test_a_shell_takes_the_keys_from_the_file(remit: Remit, egress: Path) -> None:
    """Without --show the token is in no output, and yet in the environment of who runs it."""
    out = remit("env", "--egress", "--token-file", "it's mine").out
    shown = "".join(f'printf "%s\\n" "${name}"; ' for name in [*KEYS, *PROXIES])

    assert "rmt_mine" not in out
    read = subprocess.run(["sh", "-euc", f'eval "{chr(36)}1"; {shown}', "sh", out], capture_output=True, text=True)
    assert read.stdout.split() == ["rmt_mine"] * 5 + ["http://remit:rmt_mine@127.0.0.1:7453"] * 4
    assert fish(Secret(Path("/it's"), before="http://remit:", after="@x")) == "'http://remit:'(cat '/it\\'s')'@x'"


def test_json_has_no_secret_that_is_not_shown(remit: Remit, egress: Path) -> None:
    """JSON cannot read a file: without --show it has neither keys nor a proxy that needs one."""
    result = remit("env", "--egress", "--token-file", "it's mine", "--shell", "json")

    assert json.loads(result.out).keys().isdisjoint([*KEYS, *PROXIES])
    assert "--show" in result.err and all(name in result.err for name in (*KEYS, *PROXIES))


def test_an_odd_token_stays_one_in_a_url() -> None:
    """What a URL would cut is escaped there, and only there."""
    assert Secret(Path("t"), "a/b@c", before="http://remit:", after="@x").text == "http://remit:a%2Fb%40c@x"
    assert Secret(Path("t"), "a/b@c").text == "a/b@c"


def test_one_service_of_a_kind_has_the_names(remit: Remit, egress: Path) -> None:
    """The first; the others are told on stderr, and --service chooses."""
    ended = remit("env", "--egress")
    assert "OPENAI_BASE_URL=http://127.0.0.1:7452/models/v1\n" in ended.out
    assert "spare: OPENAI_BASE_URL=http://127.0.0.1:7452/spare/v1" in ended.err

    chosen = remit("env", "--egress", "--service", "spare")
    assert "OPENAI_BASE_URL=http://127.0.0.1:7452/spare/v1\n" in chosen.out
    assert "ANTHROPIC_BASE_URL" not in chosen.out
    assert remit("env", "--egress", "--service", "spair").code == 2


def test_the_egress_is_told_where_it_is_on(remit: Remit, egress: Path) -> None:
    """By the settings, or because a running sidecar wrote down where; a proxy that is off is not named."""
    assert "REMIT_EGRESS" not in remit("env").out
    (egress / "remit.yaml").write_text(SERVICES + "sidecar: {egress: {on: true, http: '127.0.0.1:99', proxy: off}}\n")
    assert "OPENAI_BASE_URL=http://127.0.0.1:99/models/v1\n" in remit("env").out
    assert "PROXY" not in remit("env").out
    assert "REMIT_EGRESS" not in remit("env", "--no-egress").out
    (egress / "kept").mkdir()
    write_addresses(egress / "kept", ("egress http://127.0.0.1:5", "proxy http://127.0.0.1:6", "127.0.0.1:7"))
    told = remit("env", "--state", "kept").out
    assert "REMIT_ADDRESS=127.0.0.1:7\n" in told
    assert "REMIT_EGRESS=http://127.0.0.1:5\n" in told
    assert "HTTP_PROXY=http://127.0.0.1:6\n" in told


def test_an_agent_that_needs_no_credential_gets_any_key(remit: Remit, egress: Path) -> None:
    """Alone in its pod: client libraries insist on a key. Where nobody is bound to the pod, none is made up."""
    assert "OPENAI_API_KEY" not in remit("env", "--egress").out
    (egress / "remit.yaml").write_text(SERVICES.replace("support: {team: cx}", "support: {team: cx, identity: pod}"))

    assert "export OPENAI_API_KEY=remit\n" in remit("env", "--egress").out
    assert "export HTTP_PROXY=http://127.0.0.1:7453\n" in remit("env", "--egress").out


def test_where_the_egress_speaks_tls_so_do_the_urls(remit: Remit, egress: Path) -> None:
    """By the settings or by what runs; without a token, the key that client libraries insist on is any."""
    tls = "sidecar: {tls: {cert: c, key: k}, egress: {on: true, tls: true}}\n"
    (egress / "remit.yaml").write_text(SERVICES + tls)
    told = json.loads(remit("env", "--shell", "json").out)
    assert told["REMIT_EGRESS"] == "https://127.0.0.1:7452"
    assert told["OPENAI_BASE_URL"] == "https://127.0.0.1:7452/models/v1"
    assert told["OPENAI_API_KEY"] == "remit"
    assert [told[proxy] for proxy in PROXIES] == ["https://127.0.0.1:7453"] * 4
    shown = json.loads(remit("env", "--token-file", "it's mine", "--show", "--shell", "json").out)
    assert shown["OPENAI_API_KEY"] == "rmt_mine"
    assert shown["HTTPS_PROXY"] == "https://remit:rmt_mine@127.0.0.1:7453"
    (egress / "kept").mkdir()
    write_addresses(egress / "kept", ("egress https://127.0.0.1:5", "proxy https://127.0.0.1:6"))
    told = json.loads(remit("env", "--state", "kept", "--shell", "json").out)
    assert (told["REMIT_EGRESS"], told["HTTP_PROXY"]) == ("https://127.0.0.1:5", "https://127.0.0.1:6")
