# What the chart lets anybody do in the cluster: ask whether a token holds, where its values say so, and nothing else.
package chart.rights

roles := {"Role", "ClusterRole"}

bindings := {"RoleBinding", "ClusterRoleBinding"}

deny contains sprintf("%s/%s gives more than to create tokenreviews", [document.kind, document.metadata.name]) if {
	some document in input.documents
	document.kind in roles
	some rule in document.rules
	rule != {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}
}

deny contains sprintf("%s/%s is of a role that is not the chart's", [document.kind, document.metadata.name]) if {
	some document in input.documents
	document.kind in bindings
	not own(document.roleRef)
}

own(reference) if {
	some document in input.documents
	document.kind == reference.kind
	document.metadata.name == reference.name
}

deny contains sprintf("%s/%s is for more than named service accounts", [document.kind, document.metadata.name]) if {
	some document in input.documents
	document.kind in bindings
	some subject in document.subjects
	not named(subject)
}

named(subject) if {
	subject.kind == "ServiceAccount"
	subject.namespace != ""
	subject.name != "default"
}

deny contains sprintf("ServiceAccount/%s gives its token to every pod", [document.metadata.name]) if {
	some document in input.documents
	document.kind == "ServiceAccount"
	not document.automountServiceAccountToken == false
}

deny contains sprintf("%s/%s is not labelled as the release's", [document.kind, document.metadata.name]) if {
	some document in input.documents
	not document.metadata.labels["app.kubernetes.io/instance"]
}
