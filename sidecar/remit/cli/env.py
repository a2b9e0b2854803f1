"""`remit env`: the environment that an agent needs, and a credential for it."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import click

from remit.cli.addresses import read_egress
from remit.cli.connection import FILE, known_address
from remit.cli.egress_variables import Secret, Value, egress_variables, fish, sh
from remit.cli.failure import Failure
from remit.cli.local import catalogue_paths, find_settings
from remit.cli.screen import note, show
from remit.config.loading import load
from remit.config.problem import CatalogueInvalid
from remit.config.settings import Settings
from remit.core.catalogue import Catalogue


@click.command("env")
@click.option("--agent", metavar="ID", help="The agent; checked against the catalogue.")
@click.option("--token-file", type=FILE, help="The file that holds its token.")
@click.option("--new-token", is_flag=True, help="Make a token: into --token-file, its hash for the catalogue shown.")
@click.option("--show", "shown", is_flag=True, help="Print the token itself as well.")
@click.option("--shell", type=click.Choice(["sh", "fish", "json"]), default="sh", show_default=True, help="Form.")
@click.option("--egress/--no-egress", default=None, help="The egress's variables too [where it is on].")
@click.option("--service", "services", multiple=True, metavar="ID", help="Only these services' variables; repeatable.")
@click.option("--state", type=click.Path(file_okay=False, path_type=Path), help="State directory [REMIT_STATE].")
def command(
    agent: str | None,
    token_file: Path | None,
    new_token: bool,
    shown: bool,
    shell: str,
    egress: bool | None,
    services: tuple[str, ...],
    state: Path | None,
) -> None:
    """Print the variables that an agent needs to find its sidecar and to prove who it is.

    With the egress on, official clients find their services there, and send the agent's credential as their key.

    Example: eval "$(remit env --agent support --token-file support.token)"
    """
    if new_token and token_file is None:
        raise click.UsageError("--new-token needs --token-file: the token is written there, and shown nowhere.")
    if agent is not None:
        _check_agent(agent, state, lenient=new_token)
    hashed = create_token(token_file) if new_token and token_file else ""
    settings = find_settings(state)
    token_file = token_file.absolute() if token_file is not None else None
    known = _read(token_file) if token_file is not None and shown else ""
    variables: dict[str, Value] = {"REMIT_ADDRESS": known_address(settings, running=False)}
    if token_file is not None:
        variables["REMIT_TOKEN_FILE"] = str(token_file)
        if shown:
            variables["REMIT_TOKEN"] = known
    running = read_egress(settings.state)
    if egress or (egress is None and (settings.egress.on or running is not None)):
        http, proxy, tls = running or _where(settings)
        catalogue = _catalogue(state)
        pod = [agent for agent in catalogue.agents.values() if agent.identity.pod]
        found = egress_variables(
            _services(catalogue, services),
            http=http,
            proxy=proxy,
            token_file=token_file,
            known=known,
            pod=len(pod) == 1 or settings.kubernetes.token_file is not None,
            tls=tls,
        )
        variables |= found.named
        for line in found.others:
            note(f"remit: for a client of its own: {line}")
    show(written(variables, shell, hashed))
    if shell == "json" and (untold := [name for name, value in variables.items() if not _told(value)]):
        note(f"remit: left out, since the token would be in them (--show tells it): {', '.join(untold)}")
    if hashed and shell != "json":
        note(f"token_hash: {hashed}")


def create_token(path: Path) -> str:
    """Write a new random token to a file of its own (0600); its hash as the catalogue has it. Raises Failure."""
    token = "rmt_" + secrets.token_urlsafe(32)
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise Failure(f"--token-file: {path} is there already; expected a new file") from error
    except OSError as error:
        raise Failure(f"--token-file: {path}: {error.strerror}") from error
    with os.fdopen(file, "w", encoding="ascii") as opened:
        opened.write(token + "\n")
    return "sha256:" + sha256(token.encode()).hexdigest()


def written(variables: Mapping[str, Value], shell: str, hashed: str) -> str:
    """The variables as a shell reads them; for JSON with the token's hash, where there is one.

    A shell reads a secret that is not shown from its file; JSON leaves it out.
    """
    if shell == "json":
        texts = {
            name: value if isinstance(value, str) else value.text for name, value in variables.items() if _told(value)
        }
        return json.dumps({**texts, **({"token_hash": hashed} if hashed else {})}, indent=2)
    if shell == "fish":
        return "\n".join(f"set -gx {name} {fish(value)}" for name, value in variables.items())
    return "\n".join(f"export {name}={sh(value)}" for name, value in variables.items())


def _told(value: Value) -> bool:
    return not isinstance(value, Secret) or bool(value.known)


def _where(settings: Settings) -> tuple[str, str, bool]:
    """Where the egress and its proxy listen by the settings, and whether they speak TLS."""
    return str(settings.egress.http), str(settings.egress.proxy or ""), settings.egress.tls


def _catalogue(state: Path | None) -> Catalogue:
    """Raises Failure."""
    try:
        return load(catalogue_paths(()), os.environ, {"state": state})[1]
    except CatalogueInvalid as error:
        raise Failure(*str(error).splitlines()) from error


def _services(catalogue: Catalogue, wanted: tuple[str, ...]) -> list[tuple[str, str]]:
    """Ids and kinds, in the catalogue's order. Raises Failure."""
    if unknown := [each for each in wanted if each not in catalogue.services]:
        known = ", ".join(sorted(catalogue.services)) or "none"
        raise Failure(f"--service: {unknown[0]!r} is not in the catalogue; expected one of {known}")
    return [(id, each.kind) for id, each in catalogue.services.items() if not wanted or id in wanted]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"--token-file: {path} cannot be read ({error}); expected a file with a token") from error


def _check_agent(agent: str, state: Path | None, *, lenient: bool) -> None:
    """Whom the catalogue does not have the sidecar would refuse, later and less clearly.

    A catalogue that cannot be read may be one that waits for the hash of a first token (`lenient`).
    """
    paths = catalogue_paths(())
    try:
        _, catalogue = load(paths, os.environ, {"state": state})
    except CatalogueInvalid as error:
        if lenient:
            return
        raise Failure(*str(error).splitlines()) from error
    if agent not in catalogue.agents and agent not in catalogue.people:
        known = ", ".join(sorted((*catalogue.agents, *catalogue.people))) or "none"
        raise Failure(f"--agent: {agent!r} is not in the catalogue {paths[0]}; expected one of {known}")
