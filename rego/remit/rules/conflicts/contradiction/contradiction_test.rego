package remit.rules.conflicts.contradiction_test

import data.remit.rules.conflicts.contradiction
import data.remit.testing

# `support` has priority 1.
catalogue(policy) := object.union(testing.catalogue, {
	"services": {"mail": {"conflicts": {
		"object": "/id",
		"between": [["approve", "reject"], ["update", "update"]],
		"policy": policy,
	}}},
	"agents": {"support": {"priority": 1}, "chief": {"priority": 2}, "peer": {"priority": 1}, "junior": {"priority": 0}},
})

act(agent, operation) := {"agent": agent, "operation": operation, "decision": "d-1", "time": 1796083100}

asked(operation, acts) := testing.tool({
	"resource": {"id": "mail", "operation": operation, "ref": sprintf("mail/%s", [operation])},
	"facts": {"acts": acts},
})

said(policy, request) := verdict if {
	verdict := {"deny": contradiction.deny, "hold": contradiction.hold} with input as request
		with data.remit.catalogue as catalogue(policy)
}

silent := {"deny": set(), "hold": set()}

refused := {"deny": {"conflict_detected"}, "hold": set()}

held := {"deny": set(), "hold": {{
	"code": "conflict_detected",
	"approval": {"supervisor": true, "roles": ["approver"], "bind": "exact"},
}}}

policies := ["first-wins", "priority", "escalate"]

test_where_nobody_did_anything_or_nothing_that_contradicts_all_goes_on if {
	every policy in policies {
		said(policy, asked("approve", [])) == silent
		said(policy, asked("approve", [act("chief", "approve"), act("chief", "update")])) == silent
		said(policy, asked("read", [act("chief", "reject")])) == silent
	}
}

test_the_first_wins if {
	said("first-wins", asked("approve", [act("junior", "reject")])) == refused
}

test_pairs_hold_either_way_and_for_one_operation_twice if {
	said("first-wins", asked("reject", [act("chief", "approve")])) == refused
	said("first-wins", asked("approve", [act("chief", "reject")])) == refused
	said("first-wins", asked("update", [act("chief", "update")])) == refused
}

test_one_of_several_acts_is_enough if {
	said("first-wins", asked("approve", [act("chief", "update"), act("junior", "reject")])) == refused
}

test_the_higher_priority_wins_and_of_two_alike_the_first if {
	said("priority", asked("approve", [act("junior", "reject")])) == silent
	said("priority", asked("approve", [act("peer", "reject")])) == refused
	said("priority", asked("approve", [act("chief", "reject")])) == refused
	said("priority", asked("approve", [act("junior", "reject"), act("chief", "reject")])) == refused
	said("priority", asked("approve", [act("junior", "reject"), act("chief", "approve")])) == silent
}

test_an_agent_that_is_not_known_has_the_higher_priority if {
	said("priority", asked("approve", [act("stranger", "reject")])) == refused
	stranger := object.union(asked("approve", [act("junior", "reject")]), {"subject": {"id": "stranger"}})
	said("priority", stranger) == refused
}

test_those_who_answer_for_the_agents_are_asked if {
	said("escalate", asked("approve", [act("junior", "reject")])) == held
}

test_a_policy_of_another_name_lets_the_first_win if {
	said("last-wins", asked("approve", [act("junior", "reject")])) == refused
}

test_a_service_without_conflicts_has_none if {
	request := testing.tool({"facts": {"acts": [act("chief", "reject")]}})
	said("first-wins", request) == silent
}

test_acts_that_are_not_told_count_as_contradicting if {
	request := asked("approve", [act("chief", "approve")])
	every policy, verdict in {"first-wins": refused, "escalate": held} {
		every path in ["facts/acts", "facts/acts/0/operation", "resource/operation"] {
			said(policy, json.remove(request, [path])) == verdict
			said(policy, json.patch(request, [{"op": "replace", "path": path, "value": null}])) == verdict
		}
	}
	said("priority", asked("approve", null)) == refused
	said("priority", json.remove(asked("approve", [act("junior", "reject")]), ["facts/acts/0/agent"])) == refused
}
