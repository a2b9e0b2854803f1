"""The cluster that a sidecar proves service accounts by, as its settings and Kubernetes' own variables say."""

from __future__ import annotations

from collections.abc import Mapping

from remit.backends.identity_kubernetes import Cluster
from remit.backends.kubernetes_api import ApiServer
from remit.backends.kubernetes_keys import ClusterKeys, FromApi, FromFile, FromNowhere
from remit.backends.kubernetes_pod import TokenFile
from remit.backends.kubernetes_reviews import Reviews
from remit.config.kubernetes_settings import KubernetesSettings
from remit.ports import Clock

HOST, PORT = "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"


def find_cluster(settings: KubernetesSettings, environment: Mapping[str, str], clock: Clock) -> Cluster | None:
    """None outside any cluster."""
    url = settings.api or _in_cluster(environment)
    api = ApiServer(url, settings.credentials) if url else None
    if settings.jwks is not None:
        keys = ClusterKeys(FromFile(settings.jwks, settings.issuer), clock)
    elif api is not None:
        keys = ClusterKeys(FromApi(api, settings.issuer), clock)
    elif settings.token_file is not None:
        keys = ClusterKeys(FromNowhere(), clock)
    else:
        return None
    own = TokenFile(settings.token_file) if settings.token_file is not None else None
    return Cluster(keys, Reviews(api, settings.audience, clock), clock, audience=settings.audience, own=own)


def _in_cluster(environment: Mapping[str, str]) -> str:
    """Where Kubernetes tells every container the API server is."""
    host, port = environment.get(HOST, ""), environment.get(PORT, "")
    if not host or not port:
        return ""
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
