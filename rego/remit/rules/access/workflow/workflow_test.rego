package remit.rules.access.workflow_test

import data.remit.rules.access.workflow
import data.remit.testing

said(request) := verdict if {
	verdict := {"allow": workflow.allow, "deny": workflow.deny} with input as request
		with data.remit.catalogue as testing.catalogue
}

for_purposes(purposes) := said(testing.open({"resource": {"properties": {"purposes": purposes}}}))

allowed := {"allow": {"allowed"}, "deny": set()}

refused := {"allow": set(), "deny": {"purpose_not_granted"}}

test_an_agent_opens_a_workflow_for_purposes_of_its_own if {
	for_purposes(["support"]) == allowed
	for_purposes(["refunds", "support"]) == allowed
}

test_one_purpose_of_another_s_is_too_many if {
	for_purposes(["marketing"]) == refused
	for_purposes(["support", "marketing"]) == refused
}

test_purposes_that_are_not_stated_are_not_granted if {
	said(json.remove(testing.open({}), ["resource/properties/purposes"])) == refused
	for_purposes(null) == refused
}

test_an_actor_opens_for_its_own_purposes_alone if {
	said(testing.open({"subject": {"actor": "summarise"}})) == allowed
	said(testing.open({
		"subject": {"actor": "summarise"},
		"resource": {"properties": {"purposes": ["refunds"]}},
	})) == refused
}

test_an_unknown_agent_opens_nothing if {
	said(testing.open({"subject": {"id": "stranger"}})) == refused
}

test_nothing_is_said_about_anything_else if {
	silent := {"allow": set(), "deny": set()}
	said(testing.call({})) == silent
	said(testing.open({"action": {"name": "decision.make"}})) == silent
	said(testing.open({"resource": {"type": "service"}})) == silent
}
