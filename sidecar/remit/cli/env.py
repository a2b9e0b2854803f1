"""`remit env`: the environment that an agent needs, and a credential for it."""

from __future__ import annotations

import json
import os
import secrets
import shlex
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import click

from remit.cli.connection import FILE, known_address
from remit.cli.failure import Failure
from remit.cli.local import catalogue_paths, find_settings
from remit.cli.screen import note, show
from remit.config.loading import load
from remit.config.problem import CatalogueInvalid


@click.command("env")
@click.option("--agent", metavar="ID", help="The agent; checked against the catalogue.")
@click.option("--token-file", type=FILE, help="The file that holds its token.")
@click.option("--new-token", is_flag=True, help="Make a token: into --token-file, its hash for the catalogue shown.")
@click.option("--show", "shown", is_flag=True, help="Print the token itself as well.")
@click.option("--shell", type=click.Choice(["sh", "fish", "json"]), default="sh", show_default=True, help="Form.")
@click.option("--state", type=click.Path(file_okay=False, path_type=Path), help="State directory [REMIT_STATE].")
def command(
    agent: str | None, token_file: Path | None, new_token: bool, shown: bool, shell: str, state: Path | None
) -> None:
    """Print the variables that an agent needs to find its sidecar and to prove who it is.

    Example: eval "$(remit env --agent support --token-file support.token)"
    """
    if new_token and token_file is None:
        raise click.UsageError("--new-token needs --token-file: the token is written there, and shown nowhere.")
    if agent is not None:
        _check_agent(agent, state, lenient=new_token)
    hashed = create_token(token_file) if new_token and token_file else ""
    variables = {"REMIT_ADDRESS": known_address(find_settings(state), running=False)}
    if token_file is not None:
        variables["REMIT_TOKEN_FILE"] = str(token_file.absolute())
        if shown:
            variables["REMIT_TOKEN"] = _read(token_file)
    show(written(variables, shell, hashed))
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


def written(variables: Mapping[str, str], shell: str, hashed: str) -> str:
    """The variables as a shell reads them; for JSON with the token's hash, where there is one."""
    if shell == "json":
        return json.dumps({**variables, **({"token_hash": hashed} if hashed else {})}, indent=2)
    if shell == "fish":
        return "\n".join(f"set -gx {name} {_fish(value)}" for name, value in variables.items())
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())


def _fish(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


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
