"""A PostgreSQL in a container, through testcontainers; imported only where a Docker daemon may answer."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping

import docker
from docker.errors import DockerException
from testcontainers.community.postgres import PostgresContainer

# The tests end what they start themselves; and a daemon's ports are on this machine's loopback, even where this
# machine looks like a container.
os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
os.environ.setdefault("TESTCONTAINERS_CONNECTION_MODE", "docker_host")


class Container:
    """A server that may be killed and started again on the same port."""

    def __init__(self, inner: PostgresContainer) -> None:
        self._inner = inner
        self._started = False

    def start(self) -> None:
        if self._started:
            self._inner.get_wrapped_container().start()
        else:
            self._inner.start()
            self._started = True

    def kill(self) -> None:
        wrapped = self._inner.get_wrapped_container()
        wrapped.kill()
        wrapped.wait()

    def revive(self) -> None:
        """Docker's own business."""

    def told(self) -> str:
        """What it wrote."""
        return "".join(each.decode(errors="replace")[-2000:] for each in self._inner.get_logs())

    def stop(self) -> None:
        if self._started:
            self._inner.stop()


def container(image: str, settings: Mapping[str, str], *, port: int, password: str) -> Container | None:
    """A container of the image, not yet started; None where no daemon answers or it has no such image."""
    if not _listens():
        return None
    try:
        with contextlib.closing(docker.from_env(timeout=5)) as client:
            client.images.get(image)
    except DockerException:
        return None
    inner = PostgresContainer(image, username="postgres", password=password, dbname="postgres", driver=None)
    inner.with_bind_ports(5432, port)
    arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    inner.with_command(["postgres", *arguments])
    return Container(inner)


def _listens() -> bool:
    """Whether somebody is behind the daemon's socket: a client that finds nobody leaves an open one behind."""
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not host.startswith("unix://"):
        return True
    with socket.socket(socket.AF_UNIX) as dialled:
        try:
            dialled.connect(host.removeprefix("unix://"))
        except OSError:
            return False
    return True
