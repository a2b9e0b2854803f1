"""`kubectl` as it is on PATH, with the person's own contexts and credential plugins: bounded in time and output."""

from __future__ import annotations

import json
import os
import re
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

SECONDS = 20.0
MAX_BYTES = 32 << 20
MAX_TOLD = 1000
HANGING = 3
"""So many answers in a row that did not come: then nobody is there."""

_CANNOT = re.compile(r'cannot (\w+) (?:resource "([\w./-]+)"|path "([^"]+)")(?:.*? in the namespace "([\w.-]+)")?')
_AWAY = re.compile(
    r"Unable to connect to the server|did you specify the right host or port|dial tcp|TLS handshake|no route to host"
    r"|no such host|x509:|must be logged in|\(Unauthorized\)|getting credentials",
)
_CONFIGURED = re.compile(
    r"context .* does not exist|error loading config|invalid configuration|current-context|kubeconfig"
    r"|unknown flag|no such file or directory"
)


class KubectlFailed(Exception):
    """There is no answer to this; the message says why, for people."""


class NotAllowed(KubectlFailed):
    """The person may not; the message says which right it needs."""


class NotThere(KubectlFailed):
    """There is no such thing."""


class TookTooLong(KubectlFailed):
    """No answer in time."""


class Away(Exception):
    """The cluster cannot be reached, or does not know who we are."""


class Misused(Exception):
    """There is no such context, or no kubectl that could be asked."""


class Kubectl:
    """`flags` are on every command line: the context, the kubeconfig."""

    def __init__(self, program: str, flags: Sequence[str], *, seconds: float = SECONDS) -> None:
        self._command = [program, *flags]
        self._seconds = seconds
        self._hung = 0
        self._lock = threading.Lock()

    def json(self, *arguments: str, stdin: Any = None, seconds: float | None = None) -> Any:
        """The answer as JSON, an object. Raises KubectlFailed, Away, Misused."""
        raw = self.ask(*arguments, stdin=stdin, seconds=seconds)
        try:
            found = json.loads(raw)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise KubectlFailed(f"`kubectl {arguments[0]} {arguments[1]}` answered no JSON object")
        return found

    def ask(self, *arguments: str, stdin: Any = None, seconds: float | None = None, proxied: bool = False) -> bytes:
        """The answer. Raises KubectlFailed, Away, Misused.

        With `proxied` somebody behind the API server is asked: that he is away says nothing of the server.
        """
        limit = self._seconds if seconds is None else seconds
        body = b"" if stdin is None else json.dumps(stdin).encode()
        try:
            code, out, err = _run([*self._command, *arguments], body, limit)
        except TookTooLong:
            with self._lock:
                self._hung += not proxied
                if self._hung >= HANGING:
                    raise Away(f"kubectl gave no answer within {limit:g} s, {HANGING} times in a row") from None
            raise
        if not proxied:
            with self._lock:
                self._hung = 0
        if code:
            raise _failure(arguments, err.decode(errors="replace"), proxied=proxied)
        return out


def _failure(arguments: Sequence[str], said: str, *, proxied: bool) -> Exception:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    told = next(
        (line for line in lines if "rror" in line or "nable" in line), lines[-1] if lines else "it said nothing"
    )
    told = told[:MAX_TOLD]
    cannot = _CANNOT.search(said)
    if cannot is not None:
        where = f" in namespace {cannot[4]}" if cannot[4] else ""
        return NotAllowed(f"the right to {cannot[1]} {cannot[2] or cannot[3]}{where}")
    if "(NotFound)" in said or "doesn't have a resource type" in said:
        return NotThere(told)
    if not proxied and "from server" not in told.replace("(Unauthorized)", ""):
        if _AWAY.search(said):
            return Away(told)
        if _CONFIGURED.search(said):
            return Misused(told)
    if "(Unauthorized)" in said:
        return Away(told)
    return KubectlFailed(told)


def _run(command: Sequence[str], stdin: bytes, seconds: float) -> tuple[int, bytes, bytes]:
    """Exit code, stdout, stderr. What takes too long, or says too much, is ended with all that it started."""
    try:
        process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
    except OSError as error:
        raise Misused(f"{command[0]} cannot be run: {error.strerror}") from error
    try:
        return _talk(process, stdin, time.monotonic() + seconds, seconds)
    finally:
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()


def _talk(process: subprocess.Popen[bytes], stdin: bytes, end: float, seconds: float) -> tuple[int, bytes, bytes]:
    assert process.stdin and process.stdout and process.stderr
    with suppress(BrokenPipeError):
        process.stdin.write(stdin)  # less than a pipe holds
        process.stdin.close()
    said = {process.stdout: bytearray(), process.stderr: bytearray()}
    with selectors.DefaultSelector() as ready:
        for stream in said:
            ready.register(stream, selectors.EVENT_READ)
        while ready.get_map():
            left = end - time.monotonic()
            if left <= 0:
                raise TookTooLong(f"kubectl gave no answer within {seconds:g} s")
            for key, _ in ready.select(left):
                part = os.read(key.fd, 1 << 16)
                if not part:
                    ready.unregister(key.fileobj)
                kept = said[key.fileobj]  # type: ignore[index]
                kept += part
                if len(kept) > MAX_BYTES:
                    raise KubectlFailed(f"kubectl answered more than {MAX_BYTES >> 20} MB")
    try:
        code = process.wait(max(end - time.monotonic(), 0.1))
    except subprocess.TimeoutExpired:
        raise TookTooLong(f"kubectl did not end within {seconds:g} s") from None
    return code, bytes(said[process.stdout]), bytes(said[process.stderr])
