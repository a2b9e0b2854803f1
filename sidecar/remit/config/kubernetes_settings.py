"""The cluster whose service accounts prove agents, and the pod that a sidecar is in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from remit.config.reading import Section, text
from remit.config.values import address, path

CREDENTIALS = Path("/var/run/secrets/kubernetes.io/serviceaccount")

_AUDIENCE = re.compile(r"[!-~]{1,256}", re.ASCII)
_ISSUER = re.compile(r"[!-~]{1,512}", re.ASCII)


@dataclass(frozen=True, slots=True)
class KubernetesSettings:
    """`audience` is what tokens must be for, `issuer` who signs them ("": as the API server says).

    `api` is the API server ("": as Kubernetes tells its pods); it is asked with the `token` in the directory
    `credentials`, where `ca.crt` says who signs its certificate. `jwks` is a file with the cluster's keys, instead of
    asking. `token_file` is the pod's own token: it says which agent all in this pod is.
    """

    audience: str = "remit"
    issuer: str = ""
    api: str = ""
    credentials: Path = CREDENTIALS
    jwks: Path | None = None
    token_file: Path | None = None


def kubernetes(keys: Section) -> KubernetesSettings:
    """The section `kubernetes`."""
    default = KubernetesSettings()
    if keys.has("jwks") and not keys.has("issuer"):
        keys.wrong("jwks", "`issuer` beside it: a file of keys does not say whose they are", "nothing of that")
    return KubernetesSettings(
        audience=keys.read("audience", text(_AUDIENCE, "an audience such as remit"), default.audience),
        issuer=keys.read("issuer", text(_ISSUER, "the `iss` of the cluster's tokens"), default.issuer),
        api=keys.read("api", address("https"), default.api),
        credentials=keys.read("credentials", path, default.credentials),
        jwks=keys.read("jwks", path, default.jwks),
        token_file=keys.read("token_file", path, default.token_file),
    )
