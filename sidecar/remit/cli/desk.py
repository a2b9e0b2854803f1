"""`remit desk`: the one address for people, over the store that sidecars share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from remit.app.desk import Desk
from remit.cli.serving import PATH, member_options, process_options, run_member


@click.command("desk")
@member_options
@click.option("--desk-grpc", "--grpc", metavar="HOST:PORT|off", help="gRPC [REMIT_DESK_GRPC; 127.0.0.1:7460].")
@click.option(
    "--desk-http",
    "--http",
    metavar="HOST:PORT|off",
    help="Web pages, metrics and health [REMIT_DESK_HTTP; 127.0.0.1:7461].",
)
@click.option("--ops", metavar="HOST:PORT|off", help="Metrics and health beyond loopback [REMIT_OPS; off].")
@click.option("--desk-tls-cert", "--tls-cert", type=PATH, help="The desk's certificate (PEM) [REMIT_DESK_TLS_CERT].")
@click.option("--desk-tls-key", "--tls-key", type=PATH, help="Its key (PEM) [REMIT_DESK_TLS_KEY].")
@click.option(
    "--desk-tls-client-ca",
    "--tls-client-ca",
    type=PATH,
    help="Who signs people's certificates (PEM) [REMIT_DESK_TLS_CLIENT_CA].",
)
@click.option("--desk-public-url", "--public-url", metavar="URL", help="What browsers show [REMIT_DESK_PUBLIC_URL].")
@process_options
def command(catalogue: tuple[Path, ...], as_json: bool, **flags: Any) -> None:
    """Run the desk until SIGTERM or Ctrl-C: people ask, halt and look at all sidecars here. It runs no agents.

    It needs the same catalogue, policies, keys and PostgreSQL as the sidecars, and a state directory of its own.

    Example: remit desk --state .remit-desk --keys .remit/keys --store-url postgresql://desk@db/remit
    """
    run_member(Desk, catalogue, flags, as_json=as_json)
