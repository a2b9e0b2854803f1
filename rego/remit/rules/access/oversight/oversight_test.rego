package remit.rules.access.oversight_test

import data.remit.rules.access.oversight
import data.remit.testing

said(request) := verdict if {
	verdict := {"allow": oversight.allow, "deny": oversight.deny} with input as request
		with data.remit.catalogue as testing.catalogue
}

allowed := {"allow": {"allowed"}, "deny": set()}

refused := {"allow": set(), "deny": {"role_not_granted"}}

test_an_operator_halts_and_adjusts if {
	said(testing.halt({})) == allowed
	said(testing.adjust({})) == allowed
}

test_a_person_without_the_role_does_not if {
	said(testing.halt({"subject": {"id": "bo", "roles": ["finance"]}})) == refused
	said(testing.adjust({"subject": {"id": "bo", "roles": ["finance"]}})) == refused
}

test_an_agent_does_not_whatever_its_roles if {
	said(testing.halt({"subject": {"type": "agent", "id": "support"}})) == refused
	said(testing.adjust({"subject": {"type": "agent", "id": "support"}})) == refused
	said(testing.halt({"subject": {"type": "agent", "id": "ana"}})) == refused
	said(testing.halt({"subject": {"type": "agent", "identity": {"method": "local"}}})) == refused
}

test_the_sidecar_s_own_operator_needs_no_entry if {
	local := {"subject": {"id": "operator", "identity": {"method": "local", "subject": "operator"}}}
	said(testing.halt(local)) == allowed
	said(testing.adjust(local)) == allowed
	said(testing.halt(object.union(local, {"subject": {"roles": []}}))) == refused
}

test_a_person_that_the_catalogue_does_not_list_does_not if {
	said(testing.halt({"subject": {"id": "stranger"}})) == refused
}

test_each_action_has_its_type_of_resource if {
	said(testing.halt({"resource": {"type": "budget"}})).allow == set()
	said(testing.adjust({"resource": {"type": "scope"}})).allow == set()
}

test_nothing_is_said_about_agents_at_work if {
	said(testing.call({})) == {"allow": set(), "deny": set()}
}
