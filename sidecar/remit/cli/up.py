"""`remit up`: the sidecar, from its settings to its last checkpoint."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from remit.app.sidecar import App
from remit.cli.screen import note
from remit.cli.serving import PATH, member_options, process_options, run_member


@click.command("up")
@member_options
@click.option("--socket", metavar="PATH|off", help="The agents' socket [REMIT_SOCKET; .remit-run/remit.sock].")
@click.option("--grpc", metavar="HOST:PORT|off", help="gRPC over TCP [REMIT_GRPC; 127.0.0.1:7450].")
@click.option("--http", metavar="HOST:PORT|off", help="Metrics and health [REMIT_HTTP; 127.0.0.1:7451].")
@click.option("--ops", metavar="HOST:PORT|off", help="Metrics and health beyond loopback [REMIT_OPS; off].")
@click.option("--console/--no-console", default=None, help="Web pages for people at --http [REMIT_CONSOLE].")
@click.option(
    "--egress/--no-egress", "egress_on", default=None, help="Run an Envoy for agents' calls [REMIT_EGRESS_ON]."
)
@click.option(
    "--egress-http", metavar="HOST:PORT", help="Where agents reach services [REMIT_EGRESS_HTTP; 127.0.0.1:7452]."
)
@click.option("--egress-proxy", metavar="HOST:PORT|off", help="The forward proxy [REMIT_EGRESS_PROXY; 127.0.0.1:7453].")
@click.option("--egress-binary", type=PATH, help="The Envoy to run [REMIT_ENVOY_BIN].")
@click.option("--egress-tls/--no-egress-tls", default=None, help="Speak TLS to agents there [REMIT_EGRESS_TLS].")
@click.option("--tls-cert", type=PATH, help="The sidecar's certificate (PEM) [REMIT_TLS_CERT].")
@click.option("--tls-key", type=PATH, help="Its key (PEM) [REMIT_TLS_KEY].")
@click.option("--tls-client-ca", type=PATH, help="Who signs agents' certificates (PEM) [REMIT_TLS_CLIENT_CA].")
@process_options
def command(catalogue: tuple[Path, ...], as_json: bool, **flags: Any) -> None:
    """Run the sidecar until SIGTERM or Ctrl-C. SIGHUP reloads the catalogue and the policies.

    Example: remit up --catalogue remit.yaml --policy policies
    """
    run_member(App, catalogue, flags, as_json=as_json, remark=_warn)


def _warn() -> None:
    if by_hand(os.environ, _login_shell()):
        note(
            "remit: agent and sidecar run as the same user: development set-up. An agent that can read the state "
            "directory can become the operator; give it a user, or a mount, of its own"
        )


def by_hand(environment: Mapping[str, str], shell: str) -> bool:
    """Whether a person's own account runs the sidecar: then agents of that person are not kept apart from it.

    A service's account has no login shell, and a cluster gives each container its own mounts.
    """
    return "KUBERNETES_SERVICE_HOST" not in environment and Path(shell).name not in ("nologin", "false", "")


def _login_shell() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_shell
    except KeyError:
        return ""
