# METADATA
# title: The decision
# description: |
#   Joins what the library's rules and the users' say about one request. Deny beats hold beats allow; nothing said is
#   DENY. A grant takes away the holds that it covers and nothing else, so what no rule allows stays DENY, held or not:
#   nobody is asked to approve what would be denied anyway.
# custom:
#   owner: remit
#   codes:
#     context_invalid: "the input to the policy is not complete"
#     default_deny: "no rule allows {subject.id} to {action.name} {resource.ref}"
#     policy_invalid: "a rule holds the request without a code and an approval, or with two approvals of one code"
package remit

import data.remit.dispatch
import data.remit.lib.total

# METADATA
# title: Decision
# description: What the enforcement point must do about `input`; its shape is `schemas/decision.json`.
# entrypoint: true
decision := _denied({{"policy": "main", "code": "context_invalid"}}, set()) if {
	# A field that is missing would silently delete the rules that read it, denials too.
	not total.holds
} else := _denied(_denials, dispatch.record) if {
	count(_denials) > 0
} else := _denied({{"policy": "main", "code": "default_deny"}}, dispatch.record) if {
	count(dispatch.allow) == 0
} else := {
	"effect": "HOLD",
	"reasons": sort({{"policy": held.policy, "code": held.code} | some held in _holds}),
	"obligations": sort(dispatch.oblige),
	"approval": {"holds": sort(_holds)},
	"record": sort(dispatch.record),
} if {
	count(_holds) > 0
} else := {
	"effect": "ALLOW",
	"reasons": sort(dispatch.allow),
	"obligations": sort(dispatch.oblige),
	"approval": {},
	"record": sort(dispatch.record),
} if {
	count(dispatch.allow) > 0
}

_denied(reasons, record) := {
	"effect": "DENY",
	"reasons": sort(reasons),
	"obligations": [],
	"approval": {},
	"record": sort(record),
}

_denials contains reason if some reason in dispatch.deny

# A hold that cannot be read would be a hold that is lost.
_denials contains {"policy": held.policy, "code": "policy_invalid"} if {
	some held in dispatch.hold
	not _readable(held.hold)
}

# Of two approvals of one code, whoever gives the one would give the other.
_denials contains {"policy": held.policy, "code": "policy_invalid"} if {
	some held in dispatch.hold
	some other in dispatch.hold
	held.policy == other.policy
	held.hold.code == other.hold.code
	held.hold != other.hold
}

_holds contains {"policy": held.policy, "code": held.hold.code, "approval": approval} if {
	some held in dispatch.hold
	_readable(held.hold)
	not _covered(held.policy, held.hold.code)
	approval := object.union({"bind": _bind}, held.hold.approval)
}

# What a grant is bound to where the hold does not say: to a variant of a model, to all of anything else.
default _bind := "exact"

_bind := "variant" if input.action.name == "api.call"

_readable(hold) if {
	is_string(hold.code)
	is_object(hold.approval)
}

# The sidecar lists only those grants whose bounds (uses, cost, time, what they are bound to) admit this very request.
_covered(policy, code) if {
	some grant in input.facts.grants
	grant.policy == policy
	grant.code == code
}
