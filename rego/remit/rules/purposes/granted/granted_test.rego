package remit.rules.purposes.granted_test

import data.remit.rules.purposes.granted
import data.remit.testing

denied(request) := codes if {
	codes := granted.deny with input as request with data.remit.catalogue as testing.catalogue
}

refused := {"purpose_not_granted"}

without_purposes(purpose, workflow) := {
	"subject": {"id": "analysis", "team": "platform", "roles": []},
	"context": {"purpose": purpose, "workflow": workflow},
}

test_a_purpose_of_the_agent_s_own_is_granted if {
	denied(testing.call({"context": {"purpose": "support"}})) == set()
	denied(testing.call({"context": {"purpose": "refunds"}})) == set()
}

test_another_purpose_is_not if {
	every request in [
		testing.call({}), testing.send({}), testing.tool({}), testing.read({}),
		testing.write({}), testing.message({}), testing.decide({}),
	] {
		denied(object.union(request, {"context": {"purpose": "marketing"}})) == refused
	}
}

test_an_agent_that_has_purposes_names_one if {
	denied(testing.call({"context": {"purpose": ""}})) == refused
	denied(testing.call({"context": {"purpose": "", "workflow": "w-1"}})) == refused
}

test_in_a_workflow_its_purposes_count_which_the_sidecar_has_checked if {
	denied(testing.call({"context": {"purpose": "onboarding", "workflow": "w-1"}})) == set()
}

test_an_agent_without_purposes_needs_none if {
	denied(testing.call(without_purposes("", ""))) == set()
	denied(testing.call(without_purposes("", "w-1"))) == set()
	denied(testing.call(without_purposes("support", ""))) == refused
	denied(testing.call(without_purposes("support", "w-1"))) == set()
}

test_an_actor_has_its_own_purposes_alone if {
	denied(testing.call({"subject": {"actor": "summarise"}})) == set()
	denied(testing.call({"subject": {"actor": "summarise"}, "context": {"purpose": "refunds"}})) == refused
}

test_an_unknown_agent_has_none if {
	denied(testing.call({"subject": {"id": "stranger"}})) == refused
}

test_opening_a_workflow_and_oversight_are_judged_elsewhere if {
	denied(testing.open({"context": {"purpose": ""}})) == set()
	denied(testing.halt({"context": {"purpose": ""}})) == set()
}
