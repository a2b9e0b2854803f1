# METADATA
# title: Agents claim what they work on
# description: |
#   An agent of the catalogue may claim an object of the agents' own, itself and the agents that it supervises, and any
#   service, tool or dataset whose `roles` and `purposes`, as far as it names any, admit it: whoever holds a claim keeps
#   all others out.
# schemas:
#   - input: schema.input
# custom:
#   owner: remit
#   codes:
#     allowed: "{subject.id} may {action.name} {resource.ref}"
#     role_not_granted: "neither a role of {subject.id} nor its purpose admits it to {resource.ref}"
package remit.rules.access.claim

import data.remit.lib.catalogue

allow contains "allowed" if {
	input.action.name == "claim.take"
	_claimable
}

deny contains "role_not_granted" if {
	input.action.name == "claim.take"
	input.resource.type in {"service", "tool", "dataset"}
	catalogue.entry
	not catalogue.admitted
}

_claimable if {
	input.resource.type in {"service", "tool", "dataset"}
	catalogue.admitted
}

# Whoever claims an agent keeps all others from writing to it.
_claimable if {
	input.resource.type == "agent"
	catalogue.entry
	catalogue.agent
	_answers_for_it
}

_claimable if {
	input.resource.type == "object"
	catalogue.agent
}

_answers_for_it if input.resource.id == input.subject.id

_answers_for_it if catalogue.entry.supervisor == input.subject.id
