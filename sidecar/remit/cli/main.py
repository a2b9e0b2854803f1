"""The command `remit`: what it can do, and how each way of ending is told."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from remit.cli.failure import UNREACHABLE, Failure
from remit.cli.lazy import Lazily, LazyGroup
from remit.cli.text import clean

INTERRUPTED = 130
HELP = {"help_option_names": ["-h", "--help"]}
COMMANDS = {
    "up": Lazily("remit.cli.up", "Run the sidecar."),
    "desk": Lazily("remit.cli.desk", "Run the desk: people's address over a store that sidecars share."),
    "store": Lazily("remit.cli.store", "Migrate the PostgreSQL that members share; see who writes to it."),
    "demo": Lazily("remit.cli.demo", "See the same agents without Remit, then with it."),
    "check": Lazily("remit.cli.check", "Check the catalogue and all policies, without running anything."),
    "authorize": Lazily("remit.cli.authorize", "Ask, as an agent, whether an action may be done."),
    "query": Lazily("remit.cli.query", "Read a dataset, as an agent, through its views."),
    "trace": Lazily("remit.cli.trace", "Show a workflow's decisions as a tree."),
    "explain": Lazily("remit.cli.explain", "Tell the story of one decision."),
    "audit": Lazily("remit.cli.audit", "Verify the journal; see who saw whom."),
    "budget": Lazily("remit.cli.budget", "List budgets and adjust their limits."),
    "approvals": Lazily("remit.cli.approvals", "See what waits for approval; approve, deny, pass on."),
    "unresolved": Lazily("remit.cli.unresolved", "See what was allowed and never reported."),
    "halt": Lazily("remit.cli.halt", "Stop an agent, a workflow, a service or everything."),
    "resume": Lazily("remit.cli.resume", "Resume what was stopped."),
    "policy": Lazily("remit.cli.policy", "Start a rule of your own, and test policies."),
    "bundle": Lazily("remit.cli.bundle", "Sign catalogue and policies for all sidecars; verify what was signed."),
    "views": Lazily("remit.cli.views", "See what agents see of data."),
    "mcp": Lazily("remit.cli.mcp", "Run an MCP server with a decision before each call."),
    "opa": Lazily("remit.cli.opa", "Find or build the Open Policy Agent that Remit runs."),
    "egress": Lazily("remit.cli.egress", "See how agents' calls leave."),
    "lockdown": Lazily("remit.cli.lockdown", "Let only the sidecar dial beyond loopback."),
    "envoy": Lazily("remit.cli.envoy", "Find or install the Envoy that Remit runs."),
    "k8s": Lazily("remit.cli.k8s", "Say what is wrong with an installation in a Kubernetes cluster."),
    "env": Lazily("remit.cli.env", "Print the environment that an agent needs."),
}


@click.command(
    cls=LazyGroup, later=COMMANDS, no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="remit", message="remit %(version)s")
def root() -> None:
    """Remit gives every AI agent its remit: what it may do, see, pass on and spend.

    Settings: flags, then REMIT_* in the environment, then remit.yaml. Exit codes: 0 done, 1 the answer is no,
    2 used wrongly or bad input, 3 could not be reached.
    """


def main() -> NoReturn:
    """The entry point."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; its exit code. Whatever goes wrong is one clear line on stderr."""
    try:
        ended = root.main(list(arguments), prog_name="remit", standalone_mode=False)
        return ended if isinstance(ended, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.ClickException as error:
        click.echo(f"remit: {_told(error)}", err=True)
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    except Exception as error:
        if os.environ.get("REMIT_DEBUG"):
            raise
        text = clean(f"{type(error).__name__}: {error}")
        click.echo(f"remit: an error of Remit's own, please report it: {text} (REMIT_DEBUG=1 shows more)", err=True)
        return UNREACHABLE


def _told(error: click.ClickException) -> str:
    if isinstance(error, Failure):
        return error.message
    text = clean(error.format_message().removesuffix("."))
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{text} (try `{context.command_path} --help`)" if context else text
