# METADATA
# title: Those who are asked resolve approvals
# description: |
#   People who have one of the roles that the approval names (`approver`, where it names none), and the supervisor whose
#   turn it is; operators too, where it lifts a halt that a failure placed. Nobody resolves what they asked for
#   themselves, and an agent approves nothing whose labels it may not read. That time is over, the sidecar says itself.
# schemas:
#   - input: schema.input
# custom:
#   owner: remit
#   codes:
#     allowed: "{subject.id} may {resource.operation} {resource.id}"
#     role_not_granted: "{subject.id} is not one of those who are asked about {resource.id}"
#     approval_own: "{subject.id} asked for {resource.id} itself"
#     flow_label_exceeds_clearance: "{subject.id} is not cleared for what {resource.id} is about"
package remit.rules.access.approval

import data.remit.lib.catalogue

allow contains "allowed" if {
	input.action.name == "approval.resolve"
	input.resource.type == "approval"
	_may
}

deny contains "role_not_granted" if {
	input.action.name == "approval.resolve"
	not _may
}

deny contains "approval_own" if {
	input.action.name == "approval.resolve"
	not _of_another
}

deny contains "flow_label_exceeds_clearance" if {
	input.action.name == "approval.resolve"
	not _cleared
}

_may if {
	input.resource.operation in {"approve", "deny", "hold", "revoke"}
	_asked
}

_may if _timeout

_timeout if {
	input.resource.operation == "timeout"
	input.subject.type == "system"
	input.subject.id == "remit"
	input.subject.identity.method == "local"
}

_asked if {
	catalogue.person
	some role in _roles
	role in input.subject.roles
}

_asked if {
	catalogue.person
	"operator" in input.subject.roles
	is_string(input.resource.properties.policy)
	startswith(input.resource.properties.policy, "failure")
}

# Whoever holds the sidecar's own operator token: it lies in the state directory, not in the catalogue.
_asked if {
	input.subject.type == "person"
	input.subject.identity.method == "local"
	"operator" in input.subject.roles
}

_asked if {
	catalogue.agent
	input.subject.id == input.resource.properties.addressee
}

_asked if {
	catalogue.person
	input.subject.id == input.resource.properties.addressee
}

_roles := input.resource.properties.roles if input.resource.properties.roles != []

_roles := ["approver"] if input.resource.properties.roles == []

_of_another if _timeout

_of_another if {
	is_string(input.subject.id)
	is_string(input.resource.properties.subject)
	input.subject.id != input.resource.properties.subject
}

_cleared if input.resource.operation in {"deny", "hold", "revoke", "timeout"}

_cleared if input.subject.type == "person"

_cleared if {
	every label in input.resource.labels {
		label in catalogue.clearance
	}
}
