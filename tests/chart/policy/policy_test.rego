# Each thing that the policies look for, planted into objects that are as they should be.
package chart.policy_test

import data.chart.rights
import data.chart.secrets
import data.chart.workloads

deployment := {
	"kind": "Deployment",
	"metadata": {"name": "d", "namespace": "n", "labels": {"app.kubernetes.io/instance": "r"}},
	"spec": {"template": {"metadata": {"labels": {"app": "d"}}, "spec": {
		"serviceAccountName": "d",
		"automountServiceAccountToken": false,
		"securityContext": {"runAsUser": 7450, "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
		"containers": [{
			"name": "desk",
			"image": "remit:1",
			"args": ["desk"],
			"env": [{"name": "A", "value": "b"}],
			"ports": [{"containerPort": 1}],
			"securityContext": {
				"allowPrivilegeEscalation": false,
				"readOnlyRootFilesystem": true,
				"capabilities": {"drop": ["ALL"]},
			},
			"startupProbe": {"httpGet": {}},
			"readinessProbe": {"httpGet": {}},
			"livenessProbe": {"httpGet": {}},
			"resources": {"requests": {"cpu": "1", "memory": "1"}, "limits": {"memory": "1"}},
		}],
		"volumes": [{"name": "v", "emptyDir": {}}],
	}}},
}

labelled(name) := {"name": name, "namespace": "n", "labels": {"app.kubernetes.io/instance": "r"}}

good := [
	deployment,
	{"kind": "PodDisruptionBudget", "metadata": labelled("p"), "spec": {"selector": {"matchLabels": {"app": "d"}}}},
	{
		"kind": "NetworkPolicy",
		"metadata": labelled("p"),
		"spec": {"podSelector": {"matchLabels": {"app": "d"}}, "policyTypes": ["Ingress", "Egress"]},
	},
	{"kind": "ConfigMap", "metadata": labelled("c"), "data": {"settings.yaml": "password_file: /etc/remit/store/password"}},
	{
		"kind": "ClusterRole",
		"metadata": labelled("k"),
		"rules": [{"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}],
	},
	{
		"kind": "ClusterRoleBinding",
		"metadata": labelled("k"),
		"roleRef": {"kind": "ClusterRole", "name": "k"},
		"subjects": [{"kind": "ServiceAccount", "namespace": "n", "name": "s"}],
	},
	{"kind": "ServiceAccount", "metadata": labelled("s"), "automountServiceAccountToken": false},
]

found(documents) := messages if {
	messages := (workloads.deny | secrets.deny) | rights.deny with input as {"documents": documents}
}

test_what_is_as_it_should_be_is_let_be if {
	found(good) == set()
}

pod := "/0/spec/template/spec"

container := "/0/spec/template/spec/containers/0"

# Where, what is put there (nothing: it is taken away), and part of what must be said.
planted := [
	[sprintf("%s/securityContext/runAsNonRoot", [pod]), false, "user other than root"],
	[sprintf("%s/securityContext/runAsUser", [pod]), 0, "user other than root"],
	[sprintf("%s/securityContext/runAsUser", [container]), 0, "user other than root"],
	[sprintf("%s/securityContext/readOnlyRootFilesystem", [container]), false, "write to its root"],
	[sprintf("%s/securityContext/readOnlyRootFilesystem", [container]), null, "write to its root"],
	[sprintf("%s/securityContext/capabilities", [container]), null, "keeps capabilities"],
	[sprintf("%s/securityContext/capabilities/add", [container]), ["NET_RAW"], "keeps capabilities"],
	[sprintf("%s/securityContext/allowPrivilegeEscalation", [container]), null, "more privileges"],
	[sprintf("%s/securityContext/privileged", [container]), true, "is privileged"],
	[sprintf("%s/securityContext", [container]), null, "keeps capabilities"],
	[sprintf("%s/securityContext/seccompProfile", [pod]), null, "seccomp"],
	[sprintf("%s/securityContext/seccompProfile/type", [pod]), "Unconfined", "seccomp"],
	[sprintf("%s/resources/requests/cpu", [container]), null, "what cpu"],
	[sprintf("%s/resources/requests/memory", [container]), null, "what memory"],
	[sprintf("%s/resources/limits", [container]), null, "bound on its memory"],
	[sprintf("%s/image", [container]), "remit", "become another"],
	[sprintf("%s/image", [container]), "remit:latest", "become another"],
	[sprintf("%s/hostNetwork", [pod]), true, "host's hostNetwork"],
	[sprintf("%s/hostPID", [pod]), true, "host's hostPID"],
	[sprintf("%s/hostIPC", [pod]), true, "host's hostIPC"],
	[sprintf("%s/volumes/0/hostPath", [pod]), {"path": "/"}, "volume of the host's"],
	[sprintf("%s/ports/0/hostPort", [container]), 80, "port of the host's"],
	[sprintf("%s/automountServiceAccountToken", [pod]), null, "token for every container"],
	[sprintf("%s/serviceAccountName", [pod]), null, "default service account"],
	[sprintf("%s/startupProbe", [container]), null, "no startupProbe"],
	[sprintf("%s/readinessProbe", [container]), null, "no readinessProbe"],
	[sprintf("%s/livenessProbe", [container]), null, "no livenessProbe"],
	["/1/spec/selector/matchLabels/app", "other", "no PodDisruptionBudget"],
	["/1/metadata/namespace", "other", "no PodDisruptionBudget"],
	["/2/spec/podSelector/matchLabels/app", "other", "no NetworkPolicy"],
	["/2/spec/policyTypes", ["Ingress"], "lets Egress"],
	["/3/data/settings.yaml", "url: postgresql://pods:geheim@db/remit", "looks like a secret"],
	["/3/data/settings.yaml", "password: geheim", "looks like a secret"],
	["/3/data/bundle.pem", "-----BEGIN PRIVATE KEY-----", "looks like a secret"],
	[sprintf("%s/env/0/value", [container]), "https://chat.example.com/?key=a", "variable"],
	[sprintf("%s/args/0", [container]), "postgresql://a:b@c/d", "argument looks"],
	["/3/kind", "Secret", "makes no Secret"],
	["/4/rules/0/verbs", ["*"], "more than to create"],
	["/4/rules/0/resources", ["tokenreviews", "pods"], "more than to create"],
	["/5/roleRef/name", "cluster-admin", "not the chart's"],
	["/5/subjects/0/kind", "Group", "named service accounts"],
	["/5/subjects/0/name", "default", "named service accounts"],
	["/6/automountServiceAccountToken", null, "its token to every pod"],
	["/6/metadata/labels", {}, "not labelled"],
]

patch(path, value) := {"op": "remove", "path": path} if value == null

patch(path, value) := {"op": "add", "path": path, "value": value} if value != null

missed contains [path, value] if {
	some [path, value, said] in planted
	messages := found(json.patch(good, [patch(path, value)]))
	every message in messages {
		not contains(message, said)
	}
}

test_each_planted_fault_is_found if {
	missed == set()
}
