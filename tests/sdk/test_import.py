"""What `import remit` brings into an agent's process."""

from __future__ import annotations

import subprocess
import sys

SERVER = (
    "apsw aiohttp pydantic ruamel cryptography prometheus_client uvloop orjson click rich requests httpx opa_client "
    "joserfc opentelemetry remit.core remit.pep remit.backends remit.listeners"
)


def _loaded(code: str) -> str:
    program = f"{code}; import sys; print([m for m in {SERVER.split()!r} if m in sys.modules])"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


def test_an_agent_pays_for_nothing_but_grpc() -> None:
    """`import remit` loads no server dependency and no HTTP library."""
    assert _loaded("import remit") == "[]"


def test_the_check_sees_what_is_loaded() -> None:
    """The check above would find an adapter's library."""
    assert "'httpx'" in _loaded("import remit.sdk.httpx_adapter")


def test_every_public_name_is_there() -> None:
    """`from remit import *` gives all that is promised."""
    program = "from remit import *; import remit; assert all(hasattr(remit, name) for name in remit.__all__)"

    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
