"""What governed pods are given: settings and catalogue, accounts, secrets, and tokens that prove who they are."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from remit.backends.kubernetes_api import CONFIGURATION, KEYS
from remit.backends.kubernetes_tokens import KeysInvalid, key_id, read_keys, verified
from remit.cli.k8s_kubectl import KubectlFailed, NotAllowed, TookTooLong
from remit.cli.k8s_looking import Look, secret_keys
from remit.cli.text import counted
from remit.config.kubernetes_settings import KubernetesSettings
from remit.config.loading import load
from remit.config.problem import CatalogueInvalid
from remit.config.settings import Settings
from remit.core.catalogue import Catalogue
from remit.core.errors import Unauthenticated
from remit.core.evidence import Cause
from remit.core.k8s_findings import (
    Finding,
    at,
    is_key,
    listed,
    name_of,
    ok,
    secrets_of,
    text,
    unseen,
    warning,
    wrong,
)
from remit.core.kubernetes import ServiceAccount, read_claims

Json = Any
MAP = "remit-config"


class _Bundled(Exception):
    """The catalogue is in a bundle; the settings are good."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings


def look_at_config(look: Look, namespace: str) -> Iterator[Finding]:
    """Whether a pod there could read its settings and its catalogue, by this very program."""
    found = look.maybe("configmap", namespace, MAP)
    where = f"{namespace}/{MAP}"
    if found is None:
        yield wrong("config", f"ConfigMap {where} is not there", f"helm upgrade {look.release} makes it anew")
        return
    files = _files(at(found, "data"))
    look.words[namespace] = "\n".join(files.values())
    others = [other for other, words in look.words.items() if words != look.words[namespace]]
    if others:
        do = f"helm upgrade {look.release} makes them alike"
        yield warning("config", f"ConfigMap {where} is another than that of {others[0]}", do)
    try:
        settings, catalogue = _loaded(files)
    except CatalogueInvalid as error:
        first = replace(error.errors[0], file=f"{where} {Path(error.errors[0].file).name}")
        more = len(error.errors) - 1 + error.more
        found_more = f" (and {more} more)" if more else ""
        yield wrong("config", f"{first}{found_more}", "mend the values, try them with `remit check`, then helm upgrade")
        return
    look.settings[namespace] = settings
    if catalogue is None:
        yield ok("config", f"ConfigMap {where} has good settings; the catalogue is in a bundle, which is not looked at")
        return
    look.catalogue = catalogue
    yield ok("config", f"ConfigMap {where} has good settings and a good catalogue")


def _files(texts: Json) -> dict[str, str]:
    """What of it may be a file."""
    if not isinstance(texts, dict):
        return {}
    return {key: value for key, value in texts.items() if is_key(key) and isinstance(value, str)}


def _loaded(files: Mapping[str, str]) -> tuple[Settings, Catalogue | None]:
    """Without a catalogue where that is in a bundle. Raises CatalogueInvalid."""
    with tempfile.TemporaryDirectory(prefix="remit-k8s-check-") as directory:
        for name, words in files.items():
            (Path(directory) / name).write_bytes(words.encode("utf-8", "surrogatepass"))
        try:
            return load([Path(directory)], {}, {}, _bundled)
        except _Bundled as found:
            return found.settings, None


def _bundled(settings: Settings) -> tuple[Path, Path | None]:
    raise _Bundled(settings)


def look_at_identity(look: Look) -> Iterator[Finding]:
    """Whether each account that the catalogue binds is there, where pods are governed."""
    if look.catalogue is None:
        return
    bound = _accounts(look.catalogue)
    if not bound:
        do = "agents.NAME.identity: {kubernetes: {namespace: …, service_account: …}} (docs/kubernetes-identity.md)"
        yield warning("identity", "no agent of the catalogue has a service account: no pod proves one", do)
        return
    there: dict[str, set[str]] = {}
    good = 0
    for agent, account in bound:
        named = f"agent {agent} is {account.namespace}/{account.service_account}"
        if account.namespace not in look.governed:
            do = f"take {account.namespace} into the chart's `namespaces`, or bind another account"
            yield wrong("identity", f"{named}, and namespace {account.namespace} is not governed", do)
            continue
        if account.namespace not in there:
            items = listed(look.get("serviceaccounts", account.namespace), "items")
            there[account.namespace] = {name_of(each) for each in items}
        if account.service_account not in there[account.namespace]:
            do = f"kubectl create serviceaccount {account.service_account} -n {account.namespace}"
            yield wrong("identity", f"{named}, and there is no such service account", do)
            continue
        good += 1
    if good:
        yield ok("identity", f"{counted(good, 'service account')} of agents are there")
    yield from _reviewers(look, [account for _, account in bound if account.fresh])


def _reviewers(look: Look, fresh: Sequence[ServiceAccount]) -> Iterator[Finding]:
    """Whether those whose tokens must be fresh may ask the cluster, as far as the chart's own binding says."""
    if not fresh:
        return
    binding = look.maybe("clusterrolebinding", "", f"{look.release}-tokenreview")
    may = {(text(each, "namespace"), text(each, "name")) for each in listed(binding, "subjects")}
    for each in fresh:
        if (each.namespace, each.service_account) not in may:
            found = f"{each.namespace}/{each.service_account} must be fresh, and {look.release}-tokenreview has it not"
            yield warning(
                "identity", found, "identity.tokenReview in the chart's values, unless another role allows it"
            )


def _accounts(catalogue: Catalogue) -> list[tuple[str, ServiceAccount]]:
    return [(name, account) for name, agent in catalogue.agents.items() for account in agent.identity.kubernetes]


def look_at_secrets(look: Look, namespace: str) -> Iterator[Finding]:
    """Those that a governed pod mounts for Remit."""
    pod = look.genuine.get(namespace)
    if pod is None:
        yield unseen("secrets", f"{namespace}: no pod was injected, so which secrets it needs is not known")
        return
    wanted = list(secrets_of(pod, look.words.get(namespace, "")))
    yield from secret_keys(look, namespace, wanted)
    for volume in listed(pod, "spec", "volumes"):
        claim = text(volume, "persistentVolumeClaim", "claimName")
        if claim and look.maybe("persistentvolumeclaim", namespace, claim) is None:
            yield wrong(
                "secrets", f"PersistentVolumeClaim {namespace}/{claim} is not there", "make it, or helm upgrade"
            )


def look_at_tokens(look: Look) -> Iterator[Finding]:
    """Whether the cluster's tokens would be believed, and for one audience alone: of one account a namespace."""
    if look.catalogue is None:
        return
    seen = set()
    for _, account in _accounts(look.catalogue):
        if account.namespace in seen or account.namespace not in look.settings:
            continue
        seen.add(account.namespace)
        yield from _token(look, account, look.settings[account.namespace].kubernetes)


def _token(look: Look, account: ServiceAccount, settings: KubernetesSettings) -> Iterator[Finding]:
    whose = f"{account.namespace}/{account.service_account}"
    volumes = listed(look.genuine.get(account.namespace), "spec", "volumes")
    given = next((each for each in volumes if at(each, "name") == "remit-token"), None)
    audience = text(given, "projected", "sources", 0, "serviceAccountToken", "audience")
    if given is not None and audience != settings.audience:
        found = f"pods get tokens for {audience!r}, and kubernetes.audience is {settings.audience!r}"
        yield wrong("tokens", found, "identity.audience in the chart's values sets both")
        return
    issuer = settings.issuer or text(look.kubectl.json("get", "--raw", CONFIGURATION), "issuer")
    try:
        keys = read_keys(look.kubectl.ask("get", "--raw", KEYS))
    except KeysInvalid as error:
        yield wrong("tokens", f"{KEYS}: {error}", "sidecars could prove nobody")
        return
    for asked, good in ((settings.audience, True), (f"{settings.audience}-other", False)):
        shown = _made(look, account, asked)
        now = look.now(time.time_ns(), time.monotonic())
        try:
            key = keys.get(key_id(shown))
            if key is None:
                raise Unauthenticated(Cause.UNKNOWN, "the token names a key that is none of this cluster's")
            claims = read_claims(verified(shown, key), issuer=issuer, audience=settings.audience, now=now)
        except Unauthenticated as error:
            if good:
                do = (
                    "kubernetes.issuer must be the cluster's own (identity.issuer), and its keys those that it signs by"
                )
                yield wrong("tokens", f"a token of {whose} would be refused: {error}", do)
                return
            continue
        if not good:
            found = f"a token of {whose} for the audience {asked} is good for {settings.audience} too"
            yield wrong("tokens", found, "the API server gives tokens more audiences than were asked for")
            return
        if claims.subject != account.subject:
            yield wrong("tokens", f"a token of {whose} proves {claims.subject}", "the API server confuses accounts")
            return
    yield ok("tokens", f"a token of {whose} for {settings.audience} is believed, for another audience refused")


def _made(look: Look, account: ServiceAccount, audience: str) -> str:
    """A token, which is told nobody: not even what kubectl says where it fails."""
    more = ("-n", account.namespace, "--audience", audience, "--duration", "10m")
    try:
        return look.kubectl.ask("create", "token", account.service_account, *more).decode("ascii", "replace").strip()
    except (NotAllowed, TookTooLong):
        raise
    except KubectlFailed:
        raise KubectlFailed(f"no token of {account.namespace}/{account.service_account} could be had") from None
