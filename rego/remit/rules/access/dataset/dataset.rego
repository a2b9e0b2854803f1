# METADATA
# title: Agents read and write datasets
# description: |
#   An agent of the catalogue may, where the dataset's own `roles` and `purposes`, as far as it names any, admit it; and
#   where it asks for one of the dataset's statements, that statement's too.
# schemas:
#   - input: schema.input
# custom:
#   owner: remit
#   codes:
#     allowed: "{subject.id} may {action.name} {resource.ref}"
#     role_not_granted: "neither a role of {subject.id} nor its purpose admits it to {resource.ref}"
package remit.rules.access.dataset

import data.remit.lib.catalogue

allow contains "allowed" if {
	input.action.name in {"data.read", "data.write"}
	input.resource.type == "dataset"
	catalogue.admitted
}

deny contains "role_not_granted" if {
	input.action.name in {"data.read", "data.write"}
	input.resource.type == "dataset"
	catalogue.entry
	not catalogue.admitted
}
