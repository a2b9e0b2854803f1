# What every workload of the chart must be: input.documents are the objects of one installation.
package chart.workloads

templates contains {"name": name, "namespace": namespace, "labels": labels, "spec": spec} if {
	some document in input.documents
	document.kind in {"Deployment", "StatefulSet", "DaemonSet", "Job"}
	name := sprintf("%s/%s", [document.kind, document.metadata.name])
	namespace := object.get(document.metadata, "namespace", "")
	labels := document.spec.template.metadata.labels
	spec := document.spec.template.spec
}

containers contains {"name": name, "pod": template.spec, "container": container} if {
	some template in templates
	some list in {"initContainers", "containers", "ephemeralContainers"}
	some container in object.get(template.spec, list, [])
	name := sprintf("%s: %s", [template.name, container.name])
}

# The one container that is root, for a second: it does what nobody else can, and has nothing besides.
lockdown(container) if {
	container.name == "remit-lockdown"
	container.securityContext.capabilities == {"drop": ["ALL"], "add": ["NET_ADMIN"]}
	container.args[0] == "lockdown"
}

setting(each, key) := object.get(
	object.get(each.container, "securityContext", {}), key,
	object.get(object.get(each.pod, "securityContext", {}), key, null),
)

deny contains sprintf("%s is not held to a user other than root", [each.name]) if {
	some each in containers
	not lockdown(each.container)
	not not_root(each)
}

not_root(each) if {
	setting(each, "runAsNonRoot") == true
	setting(each, "runAsUser") > 0
}

deny contains sprintf("%s may write to its root", [each.name]) if {
	some each in containers
	ours(each.container)
	not each.container.securityContext.readOnlyRootFilesystem
}

# In a chart of somebody's own, their container beside ours.
ours(container) if container.name != "agent"

deny contains sprintf("%s keeps capabilities, or is given some", [each.name]) if {
	some each in containers
	not lockdown(each.container)
	not without_capabilities(each.container)
}

without_capabilities(container) if container.securityContext.capabilities == {"drop": ["ALL"]}

confined(each) if setting(each, "seccompProfile").type == "RuntimeDefault"

deny contains sprintf("%s may come by more privileges", [each.name]) if {
	some each in containers
	not each.container.securityContext.allowPrivilegeEscalation == false
}

deny contains sprintf("%s is privileged", [each.name]) if {
	some each in containers
	each.container.securityContext.privileged
}

deny contains sprintf("%s has no seccomp profile", [each.name]) if {
	some each in containers
	ours(each.container)
	not confined(each)
}

deny contains sprintf("%s does not say what %s it needs", [each.name, resource]) if {
	some each in containers
	ours(each.container)
	some resource in {"cpu", "memory"}
	not each.container.resources.requests[resource]
}

deny contains sprintf("%s has no bound on its memory", [each.name]) if {
	some each in containers
	ours(each.container)
	not each.container.resources.limits.memory
}

deny contains sprintf("%s is of an image that can become another: %s", [each.name, each.container.image]) if {
	some each in containers
	ours(each.container)
	not regex.match(`(@sha256:[0-9a-f]{64}|:[A-Za-z0-9_][A-Za-z0-9_.-]*)$`, each.container.image)
}

deny contains sprintf("%s is of an image that can become another: %s", [each.name, each.container.image]) if {
	some each in containers
	endswith(each.container.image, ":latest")
}

deny contains sprintf("%s has the host's %s", [template.name, key]) if {
	some template in templates
	some key in {"hostNetwork", "hostPID", "hostIPC"}
	template.spec[key]
}

deny contains sprintf("%s has a volume of the host's", [template.name]) if {
	some template in templates
	some volume in template.spec.volumes
	volume.hostPath
}

deny contains sprintf("%s has a port of the host's", [each.name]) if {
	some each in containers
	some port in each.container.ports
	port.hostPort
}

deny contains sprintf("%s has a service account's token for every container", [template.name]) if {
	some template in templates
	not governed(template)
	not template.spec.automountServiceAccountToken == false
}

governed(template) if template.labels["remit/governed"] == "true"

deny contains sprintf("%s is the namespace's default service account", [template.name]) if {
	some template in templates
	not governed(template)
	object.get(template.spec, "serviceAccountName", "default") == "default"
}

deny contains sprintf("%s has no %s", [each.name, probe]) if {
	some each in containers
	startswith(each.name, "Deployment/")
	serves(each.container)
	some probe in {"startupProbe", "readinessProbe", "livenessProbe"}
	not each.container[probe]
}

serves(container) if {
	ours(container)
	not lockdown(container)
}

deny contains sprintf("%s has no PodDisruptionBudget", [template.name]) if {
	some template in templates
	startswith(template.name, "Deployment/")
	not governed(template)
	not selected(template, "PodDisruptionBudget", "selector")
}

deny contains sprintf("%s is selected by no NetworkPolicy, in and out", [template.name]) if {
	some template in templates
	not governed(template)
	not selected(template, "NetworkPolicy", "podSelector")
}

deny contains sprintf("NetworkPolicy/%s says nothing of what it lets %s", [document.metadata.name, direction]) if {
	some document in input.documents
	document.kind == "NetworkPolicy"
	some direction in {"Ingress", "Egress"}
	not direction in document.spec.policyTypes
}

selected(template, kind, field) if {
	some document in input.documents
	document.kind == kind
	object.get(document.metadata, "namespace", "") == template.namespace
	every label, value in document.spec[field].matchLabels {
		template.labels[label] == value
	}
	count(document.spec[field].matchLabels) > 0
}
