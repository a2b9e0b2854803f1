"""What helm says after installing fits what was chosen."""

from __future__ import annotations

from chart.rendering import NAMESPACE, RELEASE
from chart.tools import CHART, helm


def notes(use: str, *options: str) -> str:
    """What is said after installing an example."""
    values = CHART / f"values-{use}.yaml"
    done = helm("install", RELEASE, CHART, "--namespace", NAMESPACE, "--values", values, "--dry-run=client", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("\nNOTES:\n")[2]


def test_the_pod_security_level_that_the_lock_down_needs_is_said_for_each_namespace() -> None:
    init = notes("regulated")
    for namespace in ("agents-cx", "agents-finance"):
        assert f"kubectl label namespace {namespace} --overwrite pod-security.kubernetes.io/enforce=privileged" in init
    none = notes("regulated", "--set", "lockdown.mode=none")
    for namespace in ("agents-cx", "agents-finance"):
        assert f"kubectl label namespace {namespace} --overwrite pod-security.kubernetes.io/enforce=restricted" in none
    assert "privileged" not in none and "What you give up" in none and "You would give up" in init


def test_the_secrets_that_are_wanted_are_named() -> None:
    said = notes("team")
    assert "Each of agents needs: remit-keys, remit-store, openai." in said
    assert "remit-keys, remit-store-desk, remit-desk-tls, remit-desk-oidc (cert-manager makes remit-desk-tls)" in said
    assert "None." in notes("dev")


def test_what_is_next_is_of_what_was_chosen() -> None:
    dev, regulated = notes("dev"), notes("regulated")
    assert "one governed pod at a time" in dev and "one governed pod at a time" not in regulated
    assert "image.digest pins its bytes" in dev and "image.digest" not in regulated
    assert "pods without the label are refused there" in regulated and "without the label" not in dev
    assert "deployment/remit-desk" in regulated and "deployment/remit-desk" not in dev
    assert "write the sidecar into the pods yourself" in notes("dev", "--set", "injection.policy=none")
    assert "nothing of this chart bounds what pods dial" in notes("dev", "--set", "networkPolicy.enabled=false")
