"""docs/installation.md: its SQL and its commands are run, in order, on a real PostgreSQL that speaks TLS."""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from fakes.members_stage import DURABLE
from fakes.ports import free_port
from fakes.postgres_server import OWNER, NoPostgres, PostgresServer, go_without, postgres_server
from listeners.certificates import Authority, Pair
from psycopg import sql
from remit.cli.main import run

pytestmark = [pytest.mark.opa, pytest.mark.timeout(120)]

PAGE = (Path(__file__).parents[2] / "docs" / "installation.md").read_text(encoding="utf-8")
REMIT = [sys.executable, "-c", "from remit.cli.main import main; main()"]
PEOPLE = {"support": "rmt_of_support", "ana": "rmt_of_ana"}
CATALOGUE = """\
currency: EUR
teams: {cx: {contact: "#cx"}}
people: {ana: {roles: [operator, auditor], identity: {token_hash: "sha256:ANA"}}}
agents: {support: {team: cx, roles: [support], purposes: [support], identity: {token_hash: "sha256:SUPPORT"}}}
services: {models: {owner: cx, metering: agent, variants: {small: {}}}}
prices: [{match: "models/*", unit: call, amount: 0.01, currency: EUR}]
budgets: {cx-month: {when: {team: cx}, limit: 2000, window: month}}
"""
ROLES = re.findall(r"CREATE ROLE ([a-z]+) LOGIN", PAGE)
STARTED_SECONDS = 60


@dataclass
class Reader:
    """Somebody who does what the page says, in a directory of his own, with a database server of his own."""

    place: Path
    server: PostgresServer
    passwords: dict[str, str] = field(repr=False)
    desk: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")
    members: list[subprocess.Popen[str]] = field(default_factory=list)
    said: list[tuple[str, str]] = field(default_factory=list)

    def here(self, text: str) -> str:
        """What the page says, with the names that things have here."""
        text = text.replace("desk.example.com:7460", self.desk)
        place = f"127.0.0.1:{self.server.port}/remit?sslrootcert={self.place / 'ca.crt'}"
        return text.replace("db.example.com/remit", place)

    def execute(self, text: str) -> None:
        """Statements, each by itself: as the superuser, or in the new database as who owns it."""
        there = "ON SCHEMA remit" in text
        role = {"database": "remit", "role": "installer"} if there else {"role": OWNER}
        with self.server.connect(**role) as connection:
            for statement in filter(str.strip, text.split(";\n")):
                for name, password in self.passwords.items():
                    if f"ROLE {name} LOGIN" in statement:
                        statement = statement.replace("'…'", sql.Literal(password).as_string(connection))
                connection.execute(statement.encode())

    def do(self, line: str, code: int) -> None:
        """One line of a shell; one that ends in & is a member, which must come to serve."""
        line = self.here(line)
        if line.endswith("&"):
            self.begin(line.rstrip("& "))
            return
        if line.startswith("remit "):
            found = run(shlex.split(line)[1:])
        else:
            found = subprocess.run(["sh", "-c", line], cwd=self.place, check=False).returncode
        assert found == code, line

    def begin(self, line: str) -> None:
        """Start a member, and read its first line."""
        named, _, command = line.partition("remit ")
        member = subprocess.Popen(
            [*REMIT, *shlex.split(command), "--json"],
            cwd=self.place,
            env={**os.environ, **dict(each.split("=", 1) for each in shlex.split(named))},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.members.append(member)
        assert member.stdout is not None and member.stderr is not None
        said = member.stdout.readline()
        assert said, member.stderr.read()
        self.said.append((command, said))

    def end(self) -> None:
        """SIGTERM for all members; none of them may have failed."""
        for each in self.members:
            each.send_signal(signal.SIGTERM)
        ended = [(each.communicate(timeout=STARTED_SECONDS)[1], each.returncode) for each in self.members]
        self.members.clear()
        assert [code for _, code in ended] == [0] * len(ended), ended


@contextmanager
def reader(place: Path) -> Iterator[Reader]:
    """With what the page takes for granted: a catalogue, tokens, certificates."""
    authority = Authority()
    with ExitStack() as stack:
        server = stack.enter_context(postgres_server(DURABLE))
        passwords = {role: secrets.token_urlsafe(18) for role in ROLES}
        server = replace(server, passwords={**server.passwords, **passwords})
        found = Reader(place, server, passwords)
        (place / "ca.crt").write_bytes(authority.certificate)
        pair = authority.sign(dns=["localhost"], addresses=["127.0.0.1"])
        speak_tls(server, pair)
        (place / "desk.crt").write_bytes(pair.certificate)
        (place / "desk.key").write_bytes(pair.key)
        for name, password in found.passwords.items():
            (place / f"{name}.password").write_text(f"{password}\n")
        catalogue = CATALOGUE
        for name, token in PEOPLE.items():
            (place / f"{name}.token").write_text(token)
            catalogue = catalogue.replace(name.upper(), sha256(token.encode()).hexdigest())
        (settings,) = (each for each in blocks("yaml") if each.startswith("sidecar:"))
        (place / "remit.yaml").write_text(found.here(catalogue + settings))
        yield found
        for each in found.members:
            each.kill()
            each.communicate()


def speak_tls(server: PostgresServer, pair: Pair) -> None:
    """Have a server show a certificate, and take nothing without TLS. What it writes belongs to its own user."""
    with server.connect() as connection:
        for name, pem in (("server.crt", pair.certificate), ("server.key", pair.key)):
            lines = sql.Literal(pem.decode().splitlines())
            to = sql.Literal(f"umask 077; cat > {name}")
            connection.execute(sql.SQL("COPY (SELECT unnest({}::text[])) TO PROGRAM {}").format(lines, to))
        rules = sql.Literal(["hostssl all all all scram-sha-256"])
        (hba,) = connection.execute("SHOW hba_file").fetchone() or ("",)
        to = sql.Literal(f"cat > {shlex.quote(hba)}")
        connection.execute(sql.SQL("COPY (SELECT unnest({}::text[])) TO PROGRAM {}").format(rules, to))
        connection.execute("ALTER SYSTEM SET ssl = on")
        connection.execute("SELECT pg_reload_conf()")
    server.wait()


def blocks(*languages: str) -> list[str]:
    """What stands in the page's blocks of these languages, in order."""
    return [text for _, text in steps(*languages)]


def steps(*languages: str) -> list[tuple[str, str]]:
    """The same with the language."""
    return re.findall(rf"```({'|'.join(languages)})\n(.*?)```", PAGE, re.DOTALL)


def commands(block: str) -> list[tuple[str, int]]:
    """Each line with the exit code that it ends with."""
    lines = [line.removeprefix("$ ") for line in block.splitlines()]
    code = re.compile(r"# exit code (\d)")
    return [(line.partition(" #")[0].strip(), int(found[1]) if (found := code.search(line)) else 0) for line in lines]


@pytest.fixture(name="newcomer")
def newcomer_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    for name in [name for name in os.environ if name.startswith("REMIT_") and name != "REMIT_OPA_BIN"]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    try:
        with reader(tmp_path) as found:
            # What no page needs to say: ports that are free here, and whose certificates are believed.
            for name, setting in {
                "REMIT_SOCKET": "off",
                "REMIT_GRPC": "127.0.0.1:0",
                "REMIT_HTTP": "off",
                "REMIT_DESK_GRPC": found.desk,
                "REMIT_DESK_HTTP": "off",
                "REMIT_TLS_CA": str(tmp_path / "ca.crt"),
            }.items():
                monkeypatch.setenv(name, setting)
            yield found
    except NoPostgres as error:
        go_without(error)


def test_the_page_s_steps_make_an_installation(newcomer: Reader, capsys: pytest.CaptureFixture[str]) -> None:
    """From an empty server to a sidecar and a desk at work, whose journal verifies by the keys that the page pins."""
    for language, text in steps("sql", "console"):
        if language == "sql":
            newcomer.execute(text)
        else:
            for line, code in commands(text):
                newcomer.do(line, code)
    out = capsys.readouterr().out

    assert [json.loads(said)["state"] for _, said in newcomer.said] == [
        str(newcomer.place / state) for state in (".remit", ".remit-desk")
    ]
    assert "DENY" in out and "halts.halted" in out
    assert re.search(r"^sidecar-\w+ +sidecar +yes .*$", out, re.MULTILINE)
    newcomer.end()
    keep_notes(newcomer)
    verified = newcomer_verifies(newcomer, capsys)
    states = {each["log"].partition("-")[0].partition("_")[0]: each["state"] for each in verified["logs"]}
    assert (states["sidecar"], states["desk"]) == ("authentic", "authentic"), verified
    with newcomer.server.connect("remit", "installer") as owner:
        owner.execute("SET search_path = remit")
        month = owner.execute("SELECT 'journal_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMM')").fetchall()[0][0]
        owner.execute(sql.SQL("ALTER TABLE journal DETACH PARTITION {}").format(sql.Identifier(month)))
    broken = newcomer_verifies(newcomer, capsys, code=1)
    assert broken["state"] == "broken"
    assert any("a note kept elsewhere signs them" in str(each) for each in broken["problems"]), broken


def keep_notes(newcomer: Reader) -> None:
    """What the page's psql prints, as the auditor: each note, and the end of a line."""
    (query,) = re.findall(r'^psql .* -c "(.*)" > notes$', PAGE, re.MULTILINE)
    with newcomer.server.connect("remit", "auditor") as connection:
        notes = [note for (note,) in connection.execute(query.encode()).fetchall()]
    (newcomer.place / "notes").write_text("".join(f"{note}\n" for note in notes))


def newcomer_verifies(newcomer: Reader, capsys: pytest.CaptureFixture[str], code: int = 0) -> Any:
    """The page's own `remit audit verify`, as JSON."""
    capsys.readouterr()
    (line,) = re.findall(r"^\$ (remit audit verify.*)$", PAGE, re.MULTILINE)
    newcomer.do(f"{line} --checkpoint notes --json", code)
    return json.loads(capsys.readouterr().out)


def test_alerts_that_are_named_are_there() -> None:
    """Each that the page names is one of the rules, with its runbook."""
    root = Path(__file__).parents[2]
    rules = "".join(path.read_text(encoding="utf-8") for path in (root / "helm/remit/files/rules").glob("*.yaml"))
    named = set(re.findall(r"`(Remit[A-Z]\w+)`", PAGE))

    assert named and named <= set(re.findall(r"- alert: (\w+)", rules))
    assert {each for each in named if not (root / "docs" / "runbooks" / f"{each}.md").exists()} == set()
