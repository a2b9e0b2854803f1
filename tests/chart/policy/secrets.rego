# No secret stands in what anybody may read who may read ConfigMaps or pods.
package chart.secrets

deny contains sprintf("%s/%s: the chart makes no Secret: what it is given lies in the release's history", [document.kind, document.metadata.name]) if {
	some document in input.documents
	document.kind == "Secret"
}

deny contains sprintf("ConfigMap/%s: %s looks like a secret", [document.metadata.name, key]) if {
	some document in input.documents
	document.kind == "ConfigMap"
	some key, text in object.get(document, "data", {})
	looks_secret(text)
}

deny contains sprintf("%s/%s: the variable %s of a container looks like a secret", [document.kind, document.metadata.name, variable.name]) if {
	some document in input.documents
	document.kind in {"Deployment", "Job"}
	some container in document.spec.template.spec.containers
	some variable in object.get(container, "env", [])
	looks_secret(object.get(variable, "value", ""))
}

deny contains sprintf("%s/%s: a container's argument looks like a secret", [document.kind, document.metadata.name]) if {
	some document in input.documents
	document.kind in {"Deployment", "Job"}
	some container in document.spec.template.spec.containers
	some argument in object.get(container, "args", [])
	looks_secret(argument)
}

patterns := {
	`PRIVATE KEY`,
	`://[^/@\s]*:[^/@\s]+@`,
	`[?&](password|token|key|sig|signature)=`,
	`\bsk-[A-Za-z0-9]{8,}`,
	`(?i)\b(password|secret|client_secret|token)"?:\s*["']?[^\s"'{\[]`,
}

looks_secret(text) if {
	some pattern in patterns
	regex.match(pattern, text)
}
