package remit.rules.access.service_test

import data.remit.rules.access.service
import data.remit.testing

said(request) := verdict if {
	verdict := {"allow": service.allow, "deny": service.deny} with input as request
		with data.remit.catalogue as testing.catalogue
}

allowed := {"allow": {"allowed"}, "deny": set()}

refused := {"allow": set(), "deny": {"role_not_granted"}}

silent := {"allow": set(), "deny": set()}

test_an_agent_with_role_and_purpose_calls_and_sends if {
	said(testing.call({})) == allowed
	said(testing.send({})) == allowed
}

test_an_agent_without_the_role_or_the_purpose_does_not if {
	said(testing.call({"subject": {"roles": ["clerk"]}})) == refused
	said(testing.call({"context": {"purpose": "refunds"}})) == refused
}

test_a_service_that_names_neither_is_open_to_every_agent if {
	said(testing.send({"subject": {"roles": []}, "context": {"purpose": ""}})) == allowed
}

test_only_agents_of_the_catalogue_are_allowed if {
	said(testing.send({"subject": {"id": "stranger"}})) == refused
	said(testing.send({"subject": {"type": "person", "id": "support"}})) == refused
}

test_nothing_is_said_about_anything_else if {
	said(testing.read({})) == silent
	said(testing.message({})) == silent
	said(testing.tool({})) == silent
	said(testing.call({"resource": {"type": "dataset", "id": "customers"}, "subject": {"roles": []}})) == silent
	said(testing.call({"resource": {"id": "elsewhere"}})) == silent
}
