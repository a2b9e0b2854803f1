# METADATA
# title: Agents call tools
# description: |
#   An agent of the catalogue may, where the tool's own `roles` and `purposes`, as far as it names any, admit it.
# schemas:
#   - input: schema.input
# custom:
#   owner: remit
#   codes:
#     allowed: "{subject.id} may {action.name} {resource.ref}"
#     role_not_granted: "neither a role of {subject.id} nor its purpose admits it to {resource.ref}"
package remit.rules.access.tool

import data.remit.lib.catalogue

allow contains "allowed" if {
	input.action.name == "tool.call"
	input.resource.type in {"tool", "service"}
	catalogue.admitted
}

deny contains "role_not_granted" if {
	input.action.name == "tool.call"
	input.resource.type in {"tool", "service"}
	catalogue.entry
	not catalogue.admitted
}
