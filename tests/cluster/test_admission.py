"""One label makes a pod governed, and whatever would make it less than that is refused: by a real API server."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from cluster.admission import ELSEWHERE, Admission, label
from cluster.cluster import Cluster
from cluster.pod_changes import CORE, changes

Json = Any


@pytest.fixture(scope="module")
def admission(control_plane: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admission]:
    """The chart, installed."""
    admission = Admission(control_plane, tmp_path_factory.mktemp("admission"))
    yield admission
    admission.uninstall()


def test_a_label_puts_remit_first_and_tells_the_others_where_it_is(admission: Admission) -> None:
    pod = admission.create(
        label({"initContainers": [{"name": "prepare", "image": "i"}], "containers": [{"name": "agent", "image": "i"}]})
    )
    spec = pod["spec"]
    assert [each["name"] for each in spec["initContainers"]] == ["remit-lockdown", "remit", "prepare"]
    assert spec["initContainers"][1]["restartPolicy"] == "Always"
    for each in (spec["initContainers"][2], spec["containers"][0]):
        environment = {variable["name"]: variable.get("value") for variable in each["env"]}
        assert environment["REMIT_ADDRESS"] == "127.0.0.1:7450"
        assert environment["OPENAI_BASE_URL"] == "http://127.0.0.1:7452/openai/v1"
        assert environment["OPENAI_API_KEY"] == "remit"
        assert {"name": "remit-token", "mountPath": "/var/run/remit", "readOnly": True} in each["volumeMounts"]
        assert each["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsUser": 65532,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }


def test_what_an_author_says_of_its_own_is_kept(admission: Admission) -> None:
    own = {"name": "OPENAI_API_KEY", "valueFrom": {"secretKeyRef": {"name": "mine", "key": "key"}}}
    agent = {"name": "agent", "image": "i", "env": [own], "securityContext": {"runAsUser": 1234}}
    pod = admission.create(label({"containers": [agent], "securityContext": {"runAsUser": 99}}))
    found = pod["spec"]["containers"][0]
    assert own in found["env"] and found["securityContext"]["runAsUser"] == 1234
    assert [each["name"] for each in found["env"]].count("OPENAI_API_KEY") == 1


def test_what_an_author_calls_by_remits_names_is_replaced(admission: Admission) -> None:
    spec = {
        "initContainers": [{"name": "remit", "image": "evil"}, {"name": "remit-lockdown", "image": "evil"}],
        "containers": [
            {"name": "agent", "image": "i", "env": [{"name": "REMIT_ADDRESS", "value": "evil:1"}]},
        ],
        "volumes": [{"name": "remit-config", "configMap": {"name": "evil"}}],
    }
    found = admission.create(label(spec))["spec"]
    assert [each["image"] for each in found["initContainers"]] == [admission.image] * 2
    assert (
        next(each for each in found["volumes"] if each["name"] == "remit-config")["configMap"]["name"] == "remit-config"
    )
    assert {"name": "REMIT_ADDRESS", "value": "127.0.0.1:7450"} in found["containers"][0]["env"]


def test_who_writes_as_if_it_were_injected_is_refused(admission: Admission) -> None:
    mount = {"name": "remit-token", "mountPath": "/var/run/remit"}
    spec = {
        "initContainers": [{"name": "remit-lockdown", "image": "evil"}, {"name": "remit", "image": "evil"}],
        "containers": [{"name": "agent", "image": "i", "volumeMounts": [mount]}],
        "volumes": [{"name": "remit-token", "emptyDir": {}}],
    }
    pod = admission.pod(label(spec))
    pod["metadata"]["annotations"] = {"remit/injected": "0.1.0"}
    status, answer = admission.ask(pod)
    assert status != 201 and "not the chart's own" in answer["message"], answer


def test_a_pod_without_the_label_is_let_be(admission: Admission) -> None:
    pod = admission.create({"containers": [{"name": "any", "image": "i"}]})
    assert "initContainers" not in pod["spec"]


def test_each_change_of_what_remit_is_made_of_is_refused(admission: Admission) -> None:
    genuine = admission.create(label({"containers": [{"name": "agent", "image": "i"}]}))
    with admission.without_injection():
        assert admission.ask(genuine)[0] == 201, "what injection makes is the chart's own"
        refused, passed, invalid = _tried(admission, genuine)
        # Most others are no pods at all, for the API server.
        assert not passed and len(refused) > 300, (len(refused), len(invalid), passed)


def test_the_changes_find_a_policy_that_forgets_one_field(admission: Admission) -> None:
    genuine = admission.create(label({"containers": [{"name": "agent", "image": "i"}]}))
    other = copy.deepcopy(genuine)
    other["spec"]["initContainers"][1]["args"] = ["desk"]
    with admission.without_injection(), admission.forgetting("variables.init[1].args", by=other):
        _, passed, _ = _tried(admission, genuine, only="initContainers[remit].args")
        assert passed, "the planted gap is not found"


def _tried(admission: Admission, genuine: Json, only: str = "") -> tuple[list[str], list[str], list[str]]:
    refused, passed, invalid = [], [], []
    for kind, type_ in (("initContainers", "Container"), ("volumes", "Volume")):
        for i, part in enumerate(genuine["spec"][kind]):
            if not part["name"].startswith("remit"):
                continue
            for where, changed in changes(part, CORE + type_, admission.swagger, f"{kind}[{part['name']}]"):
                if not where.startswith(only):
                    continue
                pod = copy.deepcopy(genuine)
                pod["spec"][kind][i] = changed
                status, answer = admission.ask(pod)
                if status == 201 and answer["spec"][kind][i] == part:
                    continue  # the API server filled in again what was taken away, or dropped what is not known
                told = answer.get("message", "")
                by_policy = "ValidatingAdmissionPolicy" in told
                (passed if status == 201 else refused if by_policy else invalid).append(where)
    return refused, passed, invalid


SAFE: Json = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsUser": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def _container(**fields: Json) -> Json:
    return {"name": "agent", "image": "i", **fields}


def _spec(**fields: Json) -> Json:
    return {"containers": [_container()], **fields}


def _everywhere(name: str, said: str, **context: Json) -> Iterator[Any]:
    """The same in a container, an init container and through an ephemeral one."""
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        yield pytest.param(kind, context, said, id=f"{name}-{kind}")


CONTEXTS = [
    *_everywhere("root", "neither root nor Remit's", securityContext={"runAsUser": 0}),
    *_everywhere("remits-user", "neither root nor Remit's", securityContext={"runAsUser": 7450}),
    *_everywhere("remits-group", "Remit's group", securityContext={"runAsGroup": 7450}),
    *_everywhere("escalation", "allowPrivilegeEscalation: false", securityContext={"allowPrivilegeEscalation": True}),
    *_everywhere("privileged", "", securityContext={"privileged": True}),
    *_everywhere("no-drop", "drop ALL", securityContext={"capabilities": {"drop": ["NET_RAW"]}}),
    *_everywhere("adds", "add none", securityContext={"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}}),
    *_everywhere("proc", "", securityContext={"procMount": "Unmasked"}),
    *_everywhere("seccomp", "seccomp", securityContext={"seccompProfile": {"type": "Unconfined"}}),
    *_everywhere("apparmor", "confines it by", securityContext={"appArmorProfile": {"type": "Unconfined"}}),
    *_everywhere("selinux", "confines it by", securityContext={"seLinuxOptions": {"type": "spc_t"}}),
    *_everywhere("keys", "none of Remit's volumes", volumeMounts=[{"name": "remit-keys", "mountPath": "/k"}]),
    *_everywhere("state", "none of Remit's volumes", volumeMounts=[{"name": "remit-state", "mountPath": "/s"}]),
    *_everywhere("api", "none of Remit's volumes", volumeMounts=[{"name": "remit-api", "mountPath": "/s"}]),
    *_everywhere(
        "variable-of-the-state",
        "none of Remit's volumes",
        env=[{"name": "K", "valueFrom": {"fileKeyRef": {"volumeName": "remit-state", "path": "p", "key": "K"}}}],
    ),
    *_everywhere(
        "secret-variable",
        "no environment of Remit's secrets",
        env=[{"name": "K", "valueFrom": {"secretKeyRef": {"name": "remit-store", "key": "password"}}}],
    ),
    *_everywhere(
        "secret-variables", "no environment of Remit's secrets", envFrom=[{"secretRef": {"name": "remit-keys"}}]
    ),
    *(
        pytest.param("containers", {name: probe}, "kubelet dial other hosts", id=f"{name}-{way}")
        for way, target in (
            ("httpGet", {"httpGet": {"host": "away.example", "path": "/", "port": 80}}),
            ("tcpSocket", {"tcpSocket": {"host": "away.example", "port": 80}}),
        )
        for name, probe in (
            *((name, target) for name in ("livenessProbe", "readinessProbe", "startupProbe")),
            *(("lifecycle", {hook: target}) for hook in ("postStart", "preStop")),
        )
    ),
    pytest.param("containers", {"ports": [{"containerPort": 80, "hostPort": 80}]}, "hostPort", id="host-port"),
]


@pytest.mark.parametrize(("kind", "fields", "said"), CONTEXTS)
def test_a_container_that_could_get_at_remit_is_refused(
    admission: Admission, kind: str, fields: Json, said: str
) -> None:
    bad = {"name": "other", "image": "i", **fields}
    if kind == "ephemeralContainers":
        # Nothing closes for it what it leaves open.
        bad = {**bad, "securityContext": {**SAFE, **fields.get("securityContext", {})}}
        told = admission.refused_debugging(bad)
    else:
        spec = _spec(**{kind: [*([_container()] if kind == "containers" else []), bad]})
        told = admission.refused(label(spec))
    # Without `said` the API server itself may be the one that refuses.
    assert not said or ("remit:" in told and said in told), told


def test_an_ephemeral_container_that_is_closed_is_let_in_but_not_into_remit(admission: Admission) -> None:
    debugger = {"name": "debugger", "image": "i", "securityContext": SAFE}
    assert admission.debug(debugger)[0] == 200
    assert "targetContainerName" in admission.refused_debugging({**debugger, "targetContainerName": "remit"})
    assert "drop ALL" in admission.refused_debugging(
        {"name": "debugger", "image": "i", "securityContext": {"runAsUser": 5, "allowPrivilegeEscalation": False}}
    )
    without = {key: value for key, value in SAFE.items() if key != "seccompProfile"}
    assert "seccomp" in admission.refused_debugging({**debugger, "securityContext": without})


PODS = [
    pytest.param({"hostNetwork": True}, "hostNetwork", id="host-network"),
    pytest.param({"hostPID": True}, "hostPID", id="host-pid"),
    pytest.param({"hostIPC": True}, "hostIPC", id="host-ipc"),
    pytest.param({"shareProcessNamespace": True}, "shareProcessNamespace", id="shared-processes"),
    pytest.param({"volumes": [{"name": "h", "hostPath": {"path": "/"}}]}, "hostPath", id="host-path"),
    pytest.param({"volumes": [{"name": "k", "secret": {"secretName": "remit-keys"}}]}, "for Remit alone", id="secret"),
    pytest.param(
        {"volumes": [{"name": "k", "projected": {"sources": [{"secret": {"name": "remit-store"}}]}}]},
        "for Remit alone",
        id="secret-projected",
    ),
    pytest.param({"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["api.openai.com"]}]}, "hostAliases", id="aliases"),
    pytest.param({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.0.0.1"]}}, "dnsPolicy", id="dns"),
    pytest.param({"dnsConfig": {"nameservers": ["10.0.0.1"]}}, "nameservers", id="one-more-nameserver"),
    pytest.param({"securityContext": {"runAsUser": 7450}}, "neither root nor Remit's", id="pods-user-is-remits"),
    pytest.param({"securityContext": {"runAsUser": 0}}, "neither root nor Remit's", id="pods-user-is-root"),
    pytest.param({"securityContext": {"runAsGroup": 7450}}, "Remit's group", id="pods-group"),
    pytest.param({"securityContext": {"fsGroup": 7450}}, "Remit's group", id="fs-group"),
    pytest.param({"securityContext": {"supplementalGroups": [7450]}}, "Remit's group", id="groups"),
    pytest.param(
        {"securityContext": {"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]}},
        "sysctls",
        id="sysctls",
    ),
    pytest.param({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}, "seccomp", id="seccomp"),
    pytest.param({"securityContext": {"appArmorProfile": {"type": "Unconfined"}}}, "confines it by", id="apparmor"),
    pytest.param({"securityContext": {"seLinuxOptions": {"type": "spc_t"}}}, "confines it by", id="selinux"),
    pytest.param({"dnsConfig": {"searches": ["away.example"]}}, "searches", id="searches"),
    pytest.param({"hostnameOverride": "api.openai.com"}, "called as another host", id="hostname-override"),
    *(
        pytest.param({"volumes": [{"name": "v", kind: source}]}, "over the network", id=f"volume-{kind}")
        for kind, source in {
            "cephfs": {"monitors": ["away.example"]},
            "flexVolume": {"driver": "a/b"},
            "gitRepo": {"repository": "https://away.example/x"},
            "glusterfs": {"endpoints": "away", "path": "/"},
            "iscsi": {"targetPortal": "192.0.2.1", "iqn": "iqn.2001-04.com.example:s", "lun": 0},
            "nfs": {"server": "away.example", "path": "/"},
            "rbd": {"monitors": ["away.example"], "image": "i"},
        }.items()
    ),
    pytest.param(
        {"volumes": [{"name": "v", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "remit-keys"}}}]},
        "for Remit alone",
        id="secret-for-a-driver",
    ),
]


@pytest.mark.parametrize(("fields", "said"), PODS)
def test_a_pod_that_opens_a_way_around_remit_is_refused(admission: Admission, fields: Json, said: str) -> None:
    told = admission.refused(label(_spec(**fields)))
    assert "remit:" in told and said in told, told


@pytest.mark.parametrize("meta", [{"name": "api.openai.com"}, {"name": None, "generateName": "api.openai.com-"}])
def test_a_pod_is_not_called_as_another_host_is(admission: Admission, meta: Json) -> None:
    """The kubelet writes its name beside its address into its hosts file, which the sidecar looks names up in."""
    pod = admission.pod(label(_spec()))
    pod["metadata"].update(meta)
    assert "called as another host" in admission.refused(pod)
    pod["spec"]["hostname"] = "agent"
    assert admission.ask(pod)[0] == 201


def test_what_injection_would_set_right_is_refused_without_it(admission: Admission) -> None:
    genuine = admission.create(label(_spec()))
    links, part = copy.deepcopy(genuine), copy.deepcopy(genuine)
    links["spec"]["enableServiceLinks"] = True
    mounts = part["spec"]["containers"][0]["volumeMounts"]
    next(each for each in mounts if each["name"] == "remit-token")["subPath"] = "token"
    with admission.without_injection():
        assert "enableServiceLinks: false" in admission.refused(links)
        assert "whole and to read" in admission.refused(part)


def test_a_short_grace_is_lengthened_for_calls_to_end(admission: Admission) -> None:
    pod = admission.create(label(_spec(terminationGracePeriodSeconds=1)))
    assert pod["spec"]["terminationGracePeriodSeconds"] == 15


@pytest.mark.parametrize("value", ["false", "True", ""])
def test_the_label_is_true_or_not_there(admission: Admission, value: str) -> None:
    assert 'is "true" or not there' in admission.refused(label(_spec(), value))


def test_where_the_chart_governs_nobody_the_label_is_refused(admission: Admission) -> None:
    assert "not governed" in admission.refused(label(_spec()), ELSEWHERE)


def test_the_label_is_neither_taken_from_a_pod_nor_given_to_one(admission: Admission) -> None:
    with admission.running(label(_spec()), "stays") as name:
        status, answer = admission.patch(name, {"metadata": {"labels": {"remit/governed": None}}})
        assert status != 200 and "keeps it" in answer["message"]
        # What controllers write beside the spec goes on.
        assert admission.patch(name, {"metadata": {"finalizers": ["example.com/x"], "labels": {"a": "b"}}})[0] == 200
        assert admission.patch(name, {"metadata": {"finalizers": None}})[0] == 200
        status, answer = admission.patch(f"{name}/status", {"metadata": {"labels": {"remit/governed": None}}})
        assert status != 200 and "keeps it" in answer["message"]
        assert admission.patch(f"{name}/status", {"status": {"message": "from its node"}})[0] == 200
    with admission.running({"containers": [_container()]}, "free") as name:
        status, answer = admission.patch(name, {"metadata": {"labels": {"remit/governed": "true"}}})
        assert status != 200 and "from its creation" in answer["message"]
        labels = {"remit/governed": "true"}
        status, answer = admission.bind(name, labels)
        assert status != 201 and "from its creation" in answer["message"]
        assert admission.bind(name, {})[0] == 201


def test_who_may_write_beside_agents_does_not_thereby_change_what_governs_them(admission: Admission) -> None:
    parts = (
        ("configmaps", "remit-config"),
        ("configmaps", "remit-policies"),
        ("configmaps", "kube-root-ca.crt"),
        ("secrets", "remit-keys"),
        ("secrets", "remit-store"),
    )
    with admission.author() as author:
        for kind, name in parts:
            with admission.there(kind, name):
                for method in ("PATCH", "DELETE"):
                    assert "what governs agents" in author(method, f"{kind}/{name}", {}).message, (method, name)
        for kind, name in (("configmaps", "remit-policies"), ("secrets", "remit-keys")):
            assert "what governs agents" in author("POST", kind, {"metadata": {"name": name}}).message
        assert "what governs agents" in author("DELETE", "configmaps").message, "all at once"
        for kind in ("configmaps", "secrets"):
            assert author("POST", kind, {"metadata": {"name": "mine"}}).status == 201
            assert author("DELETE", f"{kind}/mine").status == 200
        with admission.allowed_parts():
            assert author("PATCH", "configmaps/remit-config", {}).status == 200


def test_a_running_sidecar_is_not_exchanged_for_another(admission: Admission) -> None:
    with admission.running(label(_spec()), "exchange") as name:
        images = [{"op": "replace", "path": "/spec/initContainers/1/image", "value": "evil"}]
        status, answer = admission.patch(name, images)
        assert status != 200 and "not the chart's own" in answer["message"]
        agent = [{"op": "replace", "path": "/spec/containers/0/image", "value": "newer"}]
        assert admission.patch(name, agent)[0] == 200


def test_nobody_runs_commands_in_remits_container(admission: Admission) -> None:
    with admission.running(label(_spec()), "exec") as name:
        for way in ("exec", "attach"):
            assert "nobody runs commands" in admission.connect(name, way, "remit")
            assert "remit:" not in admission.connect(name, way, "agent")


def test_pods_beside_the_governed_cannot_have_remits_secrets(admission: Admission) -> None:
    volume = {"volumes": [{"name": "k", "secret": {"secretName": "remit-keys"}}]}
    variable = {"containers": [_container(envFrom=[{"secretRef": {"name": "remit-store"}}])]}
    for spec in (_spec(**volume), variable):
        assert "remit:" in admission.refused(spec)
        assert admission.ask(admission.pod(spec, ELSEWHERE))[0] == 201, "elsewhere it is another secret of that name"


def test_an_upgrade_lets_older_pods_end_and_gives_newer_ones_its_own(admission: Admission) -> None:
    with admission.running(label(_spec()), "older") as name:
        admission.upgrade(image="newer")
        try:
            assert admission.create(label(_spec()))["spec"]["initContainers"][1]["image"].startswith("newer:")
            assert admission.patch(name, {"metadata": {"annotations": {"x": "y"}}})[0] == 200
            assert (
                admission.patch(name, [{"op": "replace", "path": "/spec/containers/0/image", "value": "n"}])[0] == 200
            )
            status, _ = admission.patch(
                name, [{"op": "replace", "path": "/spec/initContainers/1/image", "value": "evil"}]
            )
            assert status != 200
        finally:
            admission.upgrade()


def test_pods_that_carry_the_parts_themselves_need_no_injection(admission: Admission) -> None:
    """What a chart of one's own includes is what the policy wants: for clusters without injection."""
    parts = admission.included()
    with admission.without_injection():
        admission.create(label(parts))
        bare = label({"containers": [{"name": "agent", "image": "i"}]})
        assert "init container number 1 must be remit-lockdown" in admission.refused(bare)


def test_required_namespaces_take_no_pod_without_the_label(admission: Admission) -> None:
    admission.upgrade(injection={"required": True})
    try:
        assert "must be governed" in admission.refused(_spec())
        assert admission.ask(admission.pod(label(_spec())))[0] == 201
    finally:
        admission.upgrade()


def test_all_that_was_installed_is_gone_after_uninstalling(admission: Admission) -> None:
    admission.uninstall()
    try:
        left = admission.left()
        assert not left, json.dumps(left)
        assert "initContainers" not in admission.create(label(_spec()))["spec"]
    finally:
        admission.install()
