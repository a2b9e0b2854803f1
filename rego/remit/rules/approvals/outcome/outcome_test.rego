package remit.rules.approvals.outcome_test

import data.remit.rules.approvals.outcome
import data.remit.testing

outcomes(request) := said if {
	obliged := outcome.oblige with input as request
	said := {each.properties.outcome | some each in obliged; each.id == "resolve_approval"}
	count(said) == count(obliged)
}

test_each_verdict_comes_to_something if {
	outcomes(testing.resolve({})) == {"approved"}
	outcomes(testing.resolve({"resource": {"operation": "deny"}})) == {"denied"}
	outcomes(testing.resolve({"resource": {"operation": "hold", "properties": {"verdicts": []}}})) == {"pending"}
	outcomes(testing.expire({})) == {"expired"}
}

test_the_turn_is_the_supervisor_s_alone if {
	asked := {"resource": {"operation": "hold", "properties": {
		"chain": ["bo"],
		"addressee": "bo",
		"verdicts": [],
	}}}
	outcomes(testing.resolve(asked)) == {"escalated"}
	outcomes(testing.resolve(object.union(asked, {"subject": {"id": "ana"}}))) == {"pending"}
}

test_taking_it_back_and_other_actions_come_to_nothing if {
	outcomes(testing.resolve({"resource": {"operation": "revoke"}})) == set()
	outcomes(testing.call({})) == set()
	outcomes(testing.halt({})) == set()
}
