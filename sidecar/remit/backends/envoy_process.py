"""One Envoy process: started on one configuration, without environment, and stopped for certain."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from remit.backends.child import Child, launch

_VALIDATE_SECONDS = 30.0
_WORDS = 600
_FORMAT = "[%l] %_"  # the level and the message on one line: what a peer sent cannot begin a line of its own
_REASON = re.compile(r"^\[(?:error|critical)\] (?:error initializing configuration '[^']*': )?(.*)", re.MULTILINE)
# Envoy prints the whole message before what is wrong in it.
_DUMP = re.compile(r"^goo\.gle/debug.*\\n: ", re.DOTALL)


class EnvoyFailed(Exception):
    """An Envoy could not be started, or refuses its configuration; the message has its words."""


class EnvoyProcess(Child):
    """A running Envoy. `start` gives one as soon as it runs, which is before it listens."""

    @classmethod
    async def start(
        cls,
        binary: Path,
        config: Path,
        directory: Path,
        *,
        base_id: int | None = None,
        concurrency: int = 1,
        drain_seconds: int = 5,
    ) -> EnvoyProcess:
        """Run Envoy on a configuration; what it creates is this user's alone. Raises EnvoyFailed.

        `drain_seconds` is how long connections of a listener that was taken away may go on.
        """
        arguments = [
            *_common(config),
            *("--concurrency", str(concurrency)),
            "--disable-hot-restart",
            *("--drain-time-s", str(drain_seconds)),
            *("--parent-shutdown-time-s", str(drain_seconds + 1)),
        ]
        if base_id is not None:
            arguments += ["--base-id", str(base_id)]
        try:
            return cls(await launch(binary, arguments, directory=directory))
        except OSError as e:
            raise EnvoyFailed(f"{binary} could not be started: {e}") from e


async def validate(binary: Path, config: Path) -> None:
    """Have Envoy judge a configuration without running it. Raises EnvoyFailed with its reasons."""
    arguments = ["--mode", "validate", *_common(config)]
    try:
        judging = Child(await launch(binary, arguments, directory=config.parent))
    except OSError as e:
        raise EnvoyFailed(f"{binary} could not be started: {e}") from e
    try:
        async with asyncio.timeout(_VALIDATE_SECONDS):
            code = await judging.ended()
    except TimeoutError as e:
        raise EnvoyFailed(f"{binary} did not judge {config} within {_VALIDATE_SECONDS:.0f} seconds") from e
    finally:
        judging.kill()
        await judging.ended()
    if code:
        raise EnvoyFailed(f"Envoy refuses its configuration: {_reason(judging.last_words) or f'it ended with {code}'}")


def _common(config: Path) -> list[str]:
    return ["--config-path", str(config.absolute()), "--log-level", "warning", "--log-format", _FORMAT]


def _reason(words: str) -> str:
    """The first errors of what Envoy logged, else all of it; no longer than a person reads."""
    found = [_DUMP.sub("", each).strip() for each in _REASON.findall(words)]
    return ("; ".join(dict.fromkeys(found[:3])) or words.strip())[:_WORDS]
