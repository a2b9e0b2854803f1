# METADATA
# title: Agents call services
# description: |
#   An agent of the catalogue may, where the service's own `roles` and `purposes`, as far as it names any, admit it.
# schemas:
#   - input: schema.input
# custom:
#   owner: remit
#   codes:
#     allowed: "{subject.id} may {action.name} {resource.ref}"
#     role_not_granted: "neither a role of {subject.id} nor its purpose admits it to {resource.ref}"
package remit.rules.access.service

import data.remit.lib.catalogue

allow contains "allowed" if {
	input.action.name in {"api.call", "message.send"}
	input.resource.type == "service"
	catalogue.admitted
}

deny contains "role_not_granted" if {
	input.action.name in {"api.call", "message.send"}
	input.resource.type == "service"
	catalogue.entry
	not catalogue.admitted
}
