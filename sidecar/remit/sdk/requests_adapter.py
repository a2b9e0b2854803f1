"""`requests`, governed: authorise before, report after; denied means nothing was sent.

with remit.blocking.Agent.connect() as agent:
    session = requests_adapter.session(agent, [Service(name="openai", base="https://api.openai.com/v1")])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import NewConnectionError

from remit.sdk.ambient import egress_headers
from remit.sdk.blocking import Agent
from remit.sdk.http import EGRESS, Service, Services, account, is_json


def session(agent: Agent, services: Sequence[Service], *, egress: str = EGRESS) -> requests.Session:
    """A session all of whose requests are governed; one to no declared service raises InvalidRequest."""
    governed = requests.Session()
    for scheme in ("http://", "https://"):
        governed.mount(scheme, GovernedAdapter(agent, services, egress=egress))
    return governed


class GovernedAdapter(HTTPAdapter):
    """Raises remit.Denied before anything is sent. Every redirect is a request of its own.

    With `stream=True` the answer is not read here, so its use is reported as estimated.
    """

    def __init__(self, agent: Agent, services: Sequence[Service], *, egress: str = EGRESS, **options: Any) -> None:
        super().__init__(**options)
        self._agent = agent
        self._services = Services(services, egress=egress)

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Send it, if it may be sent."""
        url = request.url or ""
        if self._services.is_egress(url):
            sent = request.copy()  # what a redirect takes over must not have the headers
            sent.headers.update(egress_headers())
            return super().send(sent, stream, timeout, verify, cert, proxies)
        question = self._services.question(request.method or "", url, _json_body(request))
        with self._agent.action("api.call", question.resource, **question.ask) as act:
            try:
                response = super().send(request, stream, timeout, verify, cert, proxies)
            except requests.ConnectionError as error:
                if _never_connected(error):
                    act.not_sent()
                raise
            readable = not stream and is_json(response.headers.get("Content-Type"))
            content = response.content if readable else None
            account(act, code=response.status_code, content=content, service=question.service)
            return response


def _json_body(request: requests.PreparedRequest) -> bytes | None:
    body = request.body
    if not is_json(request.headers.get("Content-Type")) or not isinstance(body, str | bytes):
        return None
    return body.encode() if isinstance(body, str) else body


def _never_connected(error: requests.ConnectionError) -> bool:
    if isinstance(error, requests.ConnectTimeout):
        return True
    cause = error.args[0] if error.args else None
    return isinstance(getattr(cause, "reason", None), NewConnectionError)
