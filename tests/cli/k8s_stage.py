"""A cluster as `kubectl` tells of it: well, unless a fault is planted. A program on PATH says so, or a function."""

from __future__ import annotations

import datetime
import inspect
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwt
from joserfc.jwk import ECKey

Json = Any
REMIT = version("remit")
SELECTOR = "app.kubernetes.io/name=remit,app.kubernetes.io/instance=remit"
GROUP = "admissionregistration.k8s.io"
ISSUER = "https://kubernetes.default.svc"
LABELS = {"helm.sh/chart": "remit-0.1.0", "app.kubernetes.io/version": REMIT}
NOTES = {"meta.helm.sh/release-namespace": "remit"}
PROGRAM = """#!{python} -IS
import datetime, hashlib, json, os, sys, time
Json = object
place = os.path.dirname(os.path.abspath(__file__))

def answers(key):
    with open(os.path.join(place, "asked"), "a") as asked:
        asked.write(key + "\\n")
    try:
        with open(os.path.join(place, hashlib.sha256(key.encode()).hexdigest()), encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return None

{told}

answer, code, out, err = told(sys.argv[1:], sys.stdin.read if "-" in sys.argv else str, answers)
while "flood" in answer:
    os.write(1, b"[" * 65536)
if "hang" in answer:
    time.sleep(600)
sys.stderr.write(err)
sys.stdout.buffer.write(out)
sys.exit(code)
"""


def told(arguments: Json, stdin: Json, answers: Json) -> Json:
    """What kubectl would: the answer that was found, exit code, stdout, stderr."""
    key = " ".join(arguments).split(" -o go-template=")[0]
    if "-" in arguments:
        spec = json.loads(stdin())["spec"]
        key += "".join(" " + each for each in ("hostPID", "shareProcessNamespace") if spec.get(each))
    answer = answers(key)
    if answer is None and "--ignore-not-found" in arguments:
        return {}, 0, b"", ""
    if answer is None:
        return {}, 1, b"", "Error from server (NotFound): it is not found"
    now = time.time()
    out = answer.get("out", "").replace('"@AHEAD"', repr(now + answer.get("ahead", 0)))
    out = out.replace("@MADE", datetime.datetime.fromtimestamp(int(now), datetime.UTC).isoformat())
    return answer, answer.get("code", 0), out.encode("utf-8", "surrogatepass"), answer.get("err", "")


CATALOGUE = """
currency: EUR
teams: {cx: {}}
agents:
  support: {team: cx, purposes: [x], identity: {kubernetes: {namespace: agents, service_account: support}}}
services:
  openai:
    kind: openai
    owner: cx
    endpoints: {eu: {url: "https://o.example"}}
    credentials: [{file: /etc/remit/credentials/openai/key}]
"""
SETTINGS = """
sidecar:
  kubernetes: {audience: remit}
  keys: /etc/remit/keys
  store: {url: "postgresql://pods@db/remit?sslrootcert=/etc/remit/store/ca.crt"}
"""


def failing(said: str) -> Json:
    """kubectl's words, and exit code 1."""
    return {"err": said, "code": 1}


def meta(name: str, namespace: str = "", **more: Json) -> Json:
    where = {"namespace": namespace} if namespace else {}
    return {"name": name, **where, "labels": LABELS, "annotations": NOTES, **more}


def container(name: str) -> Json:
    ports = [{"name": "remit-ops", "containerPort": 7459}]
    return {"name": name, "image": "remit:0.1.0", "args": [name], "ports": ports if name != "remit-lockdown" else []}


def pod(name: str) -> Json:
    """A governed one, whole and well."""
    secrets = {"keys": "remit-keys", "store": "remit-store", "credential-openai": "openai"}
    source = {"serviceAccountToken": {"audience": "remit", "path": "token"}}
    states = [{"name": each, "ready": True, "restartCount": 0} for each in ("remit-lockdown", "remit")]
    return {
        "kind": "Pod",
        "metadata": {
            **meta(name, "agents", creationTimestamp="@MADE"),
            "annotations": {"remit/injected": "0.1.0"},
        },
        "spec": {
            "initContainers": [container("remit-lockdown"), container("remit")],
            "containers": [{"name": "agent"}],
            "volumes": [
                *({"name": f"remit-{use}", "secret": {"secretName": name}} for use, name in secrets.items()),
                {"name": "remit-token", "projected": {"sources": [source]}},
            ],
        },
        "status": {"phase": "Running", "initContainerStatuses": states},
    }


def policy(kind: str, name: str, **spec: Json) -> Json:
    return {"kind": kind, "metadata": meta(name), "spec": {"failurePolicy": "Fail", **spec}}


def binding(kind: str, name: str, **spec: Json) -> Json:
    actions = {"validationActions": ["Deny"]} if kind.startswith("V") else {}
    return {"kind": f"{kind}Binding", "metadata": meta(name), "spec": {"policyName": name, **actions, **spec}}


VALIDATING, MUTATING = "ValidatingAdmissionPolicy", "MutatingAdmissionPolicy"
PARTS = ("require", "private", "exec")
RULES = [
    {"expression": 'request.namespace in ["agents"]', "message": "remit: pods in this namespace are not governed"},
    {"expression": "true", "message": "remit: init container number 1 must be remit-lockdown: nothing runs before"},
]
REFUSED = (
    f"Error from server (Forbidden): pods is forbidden: {VALIDATING} 'remit-require' with binding 'remit-require' "
    "denied request: remit: a governed pod has namespaces of its own: no hostNetwork, hostPID or hostIPC"
)
DRY = "create --dry-run=server -n agents -o json -f -"
CONFIG = "get configmap -n agents remit-config -o json"
PODS = "get pods --all-namespaces -l remit/governed=true -o json"
ABOUT = "get --raw /api/v1/namespaces/{}/pods/{}:7459/proxy/about"
SUPPORT, DESK = ABOUT.format("agents", "support-1"), ABOUT.format("remit", "remit-desk-1")
DESK_PODS = f"get pods -n remit -l {SELECTOR},app.kubernetes.io/component=desk -o json"
TOKEN = "create token support -n agents --audience {} --duration 10m"


def policies(kind: str, what: str) -> str:
    return f"get {kind}admissionpolic{what}.{GROUP} -l {SELECTOR} -o json"


def secret(name: str, namespace: str = "agents") -> str:
    return f"get secret {name} -n {namespace} --ignore-not-found"


def keys(*names: str) -> Json:
    return {"out": "".join(["secret\n", *(f"key {each}\n" for each in names)])}


@dataclass
class Signer:
    """The cluster's key."""

    key: ECKey = field(
        default_factory=lambda: ECKey.import_key(ec.generate_private_key(ec.SECP256R1()), {"kid": "k1", "alg": "ES256"})
    )

    def token(self, audience: str, issuer: str = ISSUER) -> str:
        now = int(time.time())
        bound = {"namespace": "agents", "serviceaccount": {"name": "support", "uid": "u"}}
        claims = {"iss": issuer, "aud": [audience], "sub": "system:serviceaccount:agents:support"}
        return jwt.encode(
            {"alg": "ES256", "kid": "k1"},
            {**claims, "nbf": now - 5, "exp": now + 600, "kubernetes.io": bound},
            self.key,
            algorithms=["ES256"],
        )

    def published(self) -> Json:
        return {"keys": [{**self.key.as_dict(private=False), "use": "sig"}]}


def about(revision: str = "r1", **bad: bool) -> Json:
    checks = {"opa": True, "store": True, **bad}
    return {"checks": checks, "revision": revision, "time": "@AHEAD", "version": REMIT}


@dataclass
class FakeCluster:
    """`answers` by kubectl's command line; a fault is a change of them, before `write`."""

    directory: Path
    signer: Signer = field(default_factory=Signer)
    answers: dict[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        resources = [{"name": f"{each}admissionpolicies"} for each in ("validating", "mutating")]
        desk = {
            "kind": "Deployment",
            "metadata": meta("remit-desk", "remit"),
            "spec": {
                "replicas": 1,
                "template": {"spec": {"volumes": [{"name": "desk", "secret": {"secretName": "remit-desk-tls"}}]}},
            },
            "status": {"readyReplicas": 1},
        }
        desk_pod = {
            "metadata": meta("remit-desk-1", "remit"),
            "spec": {"containers": [container("desk")]},
            "status": {"phase": "Running"},
        }
        config = {
            "kind": "ConfigMap",
            "metadata": meta("remit-config", "agents"),
            "data": {"settings.yaml": SETTINGS, "catalogue.yaml": CATALOGUE},
        }
        require = {part: {"validations": RULES} if part == "require" else {} for part in PARTS}
        self.answers = {
            "config view --minify --output jsonpath={..namespace}": {"out": "remit"},
            "version -o json": {"serverVersion": {"gitVersion": "v1.37.2"}},
            f"get --raw /apis/{GROUP}/v1": {"resources": resources},
            f"get configmaps -n remit -l {SELECTOR} -o json": {"items": [config]},
            f"get deployments -n remit -l {SELECTOR} -o json": {"items": [desk]},
            policies("validating", "ies"): {
                "items": [policy(VALIDATING, f"remit-{part}", **require[part]) for part in PARTS]
            },
            policies("validating", "ybindings"): {"items": [binding(VALIDATING, f"remit-{part}") for part in PARTS]},
            policies("mutating", "ies"): {"items": [policy(MUTATING, "remit-inject")]},
            policies("mutating", "ybindings"): {"items": [binding(MUTATING, "remit-inject")]},
            "get namespace agents -o json": {"metadata": {"name": "agents", "labels": {}}},
            DRY: pod("remit-k8s-check-1"),
            f"{DRY} hostPID": failing(REFUSED),
            CONFIG: config,
            secret("remit-keys"): keys("context.key", "hmac.key", "views.key"),
            secret("remit-store"): keys("password", "ca.crt"),
            secret("openai"): keys("key"),
            secret("remit-desk-tls", "remit"): keys("tls.crt", "tls.key"),
            "get networkpolicy -n agents remit-governed -o json": {"metadata": {"name": "remit-governed"}},
            "get serviceaccounts -n agents -o json": {"items": [{"metadata": {"name": "support"}}]},
            "get --raw /.well-known/openid-configuration": {"issuer": ISSUER},
            "get --raw /openid/v1/jwks": self.signer.published(),
            TOKEN.format("remit"): {"out": self.signer.token("remit")},
            TOKEN.format("remit-other"): {"out": self.signer.token("remit-other")},
            PODS: {"items": [pod("support-1")]},
            DESK_PODS: {"items": [desk_pod]},
            SUPPORT: about(egress=True, identity=True),
            DESK: about(),
            "get --raw /apis/monitoring.coreos.com/v1": failing("Error from server (NotFound): it is not here"),
        }

    def write(self) -> None:
        """Put the program where `kubectl` is looked for."""
        self.directory.mkdir(exist_ok=True)
        program = self.directory / "kubectl"
        source = inspect.getsource(told)
        program.write_text(PROGRAM.format(python=sys.executable, told=source))
        program.chmod(0o755)
        for key, answer in self.answers.items():
            (self.directory / sha256(key.encode()).hexdigest()).write_text(json.dumps(_raw(answer)))

    def run(self, command: Sequence[str], stdin: bytes, seconds: float) -> tuple[int, bytes, bytes]:
        """The same without a process, which takes its time."""
        found = self.answers.get
        _, code, out, err = told(
            [*command[1:]], lambda: stdin, lambda key: None if found(key) is None else _raw(found(key))
        )
        return code, out, err.encode()

    @property
    def asked(self) -> list[str]:
        """What kubectl was called with."""
        return (self.directory / "asked").read_text().splitlines()


def _raw(answer: Json) -> Json:
    """As the program keeps it: an object of the API is what is written to stdout."""
    return answer if answer.keys() & {"out", "err", "hang", "flood"} else {"out": json.dumps(answer)}
