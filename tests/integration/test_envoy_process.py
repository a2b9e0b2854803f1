"""A real Envoy: private, without environment, gone with the sidecar, and heard when it refuses a configuration."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.loop import in_loop, until
from remit.backends.envoy_binary import find
from remit.backends.envoy_process import EnvoyFailed, EnvoyProcess, validate

ENVOY = find(os.environ).path
ADMIN = "admin: {{address: {{pipe: {{path: {path}}}}}}}\n"


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "admin.sock"


@pytest.fixture
def config(tmp_path: Path, socket: Path) -> Path:
    return write(tmp_path, ADMIN.format(path=socket))


def write(directory: Path, text: str) -> Path:
    config = directory / "envoy.yaml"
    config.write_text(text)
    return config


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def environment(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@in_loop
async def test_what_it_creates_is_its_user_s_alone_and_it_has_no_environment(
    tmp_path: Path, config: Path, socket: Path
) -> None:
    envoy = await EnvoyProcess.start(ENVOY, config, tmp_path, base_id=7)
    try:
        await until(socket.exists)
        assert mode(socket) & 0o077 == 0
        assert environment(envoy.pid) == b""
        assert os.getsid(envoy.pid) == envoy.pid
        assert envoy.running
    finally:
        await envoy.stop()
    assert not envoy.running
    assert not alive(envoy.pid)


@in_loop
async def test_one_that_is_killed_tells_the_signal(tmp_path: Path, config: Path, socket: Path) -> None:
    envoy = await EnvoyProcess.start(ENVOY, config, tmp_path)
    await until(socket.exists)
    envoy.kill()
    assert await envoy.ended() == -signal.SIGKILL
    await envoy.stop()


@in_loop
async def test_one_that_cannot_run_ends_with_its_last_words(tmp_path: Path) -> None:
    envoy = await EnvoyProcess.start(ENVOY, write(tmp_path, "adm: 1\n"), tmp_path)
    assert await envoy.ended() == 1
    assert "'adm'" in envoy.last_words
    assert len(envoy.last_words.splitlines()) <= 20


@in_loop
async def test_a_program_that_is_not_there_ends_at_once(tmp_path: Path, config: Path) -> None:
    envoy = await EnvoyProcess.start(tmp_path / "nothing", config, tmp_path)
    assert await envoy.ended() == 1
    assert "No such file" in envoy.last_words


SIDECAR = """
import asyncio, sys
from pathlib import Path
from remit.backends.envoy_process import EnvoyProcess

async def main():
    envoy = await EnvoyProcess.start(*map(Path, sys.argv[1:4]))
    print(envoy.pid, flush=True)
    await envoy.ended()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux alone does this")
@in_loop
async def test_envoy_dies_with_a_sidecar_that_is_killed(tmp_path: Path, config: Path, socket: Path) -> None:
    command = [sys.executable, "-c", SIDECAR, str(ENVOY), str(config), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sidecar:  # noqa: ASYNC220
        assert sidecar.stdout is not None
        pid = int(sidecar.stdout.readline())
        await until(socket.exists)
        assert alive(pid)
        sidecar.kill()
    await until(lambda: not alive(pid))


@in_loop
async def test_a_good_configuration_passes_and_nothing_is_left_running(config: Path, socket: Path) -> None:
    await validate(ENVOY, config)
    await until(lambda: not socket.exists())


@pytest.mark.parametrize(
    "text, said",
    [
        ("adm: 1\n", "'adm'"),
        (": [\n", "error at line 2, column 1"),
        (
            "static_resources: {listeners: [{name: a, address: {pipe: {path: ''}}}]}\n",
            "value length must be at least 1 characters",
        ),
    ],
)
@in_loop
async def test_a_bad_configuration_is_refused_in_envoy_s_words(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(EnvoyFailed) as caught:
        await validate(ENVOY, write(tmp_path, text))
    told = str(caught.value)
    assert said in told
    assert "error initializing" not in told
    assert "debugproto" not in told
    assert len(told.splitlines()) == 1


@in_loop
async def test_a_configuration_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(EnvoyFailed, match="Invalid path"):
        await validate(ENVOY, tmp_path / "nothing.yaml")


@in_loop
async def test_one_that_does_not_answer_is_given_up(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("remit.backends.envoy_process._VALIDATE_SECONDS", 0.3)
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    with pytest.raises(EnvoyFailed, match="did not judge"):
        await validate(slow, config)
