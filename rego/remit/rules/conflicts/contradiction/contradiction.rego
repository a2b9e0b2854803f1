# METADATA
# title: Agents do not contradict each other
# description: |
#   A service's `conflicts` name pairs of operations that contradict each other, done by two agents to one object in one
#   workflow. The sidecar lists what others have done to it. By its `policy` the first has its way, or the agent with
#   the higher `priority` (of two alike the first), or those who answer for the agents are asked.
# schemas:
#   - input: schema.input
# custom:
#   owner: remit
#   codes:
#     conflict_detected: "another agent has done what contradicts {resource.ref}"
package remit.rules.conflicts.contradiction

import data.remit.lib.catalogue

deny contains "conflict_detected" if {
	input.action.name in {"api.call", "tool.call", "message.send"}
	_conflicts
	not _agreeing
	not _settled
}

hold contains {"code": "conflict_detected", "approval": approval} if {
	input.action.name in {"api.call", "tool.call", "message.send"}
	_conflicts.policy == "escalate"
	not _agreeing
	approval := {"supervisor": true, "roles": ["approver"], "bind": "exact"}
}

# Few services have any: then nothing else is looked at.
_conflicts := catalogue.entry.conflicts

_agreeing if _contradicting == []

_settled if {
	_conflicts.policy == "priority"
	mine := catalogue.agent.priority
	is_number(mine)
	every act in _contradicting {
		data.remit.catalogue.agents[act.agent].priority < mine
	}
}

# Held instead.
_settled if _conflicts.policy == "escalate"

_contradicting := [act |
	some act in input.facts.acts
	not _agree(act, input.resource, _conflicts)
] if {
	is_array(input.facts.acts)
}

# Whole objects: given by itself, an operation that is absent would leave the call undefined, which is no contradiction.
_agree(act, resource, conflicts) if {
	is_string(act.operation)
	is_string(resource.operation)
	is_array(conflicts.between)
	not [resource.operation, act.operation] in conflicts.between
	not [act.operation, resource.operation] in conflicts.between
}
