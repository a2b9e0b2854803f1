package remit.rules.access.dataset_test

import data.remit.rules.access.dataset
import data.remit.testing

said(request, catalogue) := verdict if {
	verdict := {"allow": dataset.allow, "deny": dataset.deny} with input as request
		with data.remit.catalogue as catalogue
}

with_customers(changes) := object.union(testing.catalogue, {"datasets": {"customers": changes}})

allowed := {"allow": {"allowed"}, "deny": set()}

refused := {"allow": set(), "deny": {"role_not_granted"}}

silent := {"allow": set(), "deny": set()}

test_an_agent_with_one_of_the_roles_reads_and_writes if {
	said(testing.read({}), testing.catalogue) == allowed
	said(testing.write({}), testing.catalogue) == allowed
}

test_an_agent_without_any_of_the_roles_does_not if {
	said(testing.read({"subject": {"roles": ["clerk"]}}), testing.catalogue) == refused
	said(testing.write({"subject": {"roles": []}}), testing.catalogue) == refused
}

test_a_purpose_that_the_dataset_does_not_name_is_refused if {
	catalogue := with_customers({"purposes": ["support"]})
	said(testing.read({}), catalogue) == allowed
	said(testing.read({"context": {"purpose": "refunds"}}), catalogue) == refused
}

test_a_dataset_that_names_neither_is_open_to_every_agent if {
	catalogue := with_customers({"roles": [], "purposes": []})
	said(testing.read({"subject": {"roles": []}, "context": {"purpose": ""}}), catalogue) == allowed
}

test_a_statement_s_roles_and_purposes_must_admit_too if {
	catalogue := with_customers({"statements": {
		"rename": {"roles": ["clerk"], "purposes": ["refunds"]},
		"forget": {"roles": ["admin"], "purposes": []},
		"touch": {"roles": [], "purposes": []},
		"bare": {},
	}})
	refund := {"context": {"purpose": "refunds"}}
	said(writing("rename", refund), catalogue) == allowed
	said(writing("rename", {}), catalogue) == refused
	said(writing("rename", object.union(refund, {"subject": {"roles": ["support"]}})), catalogue) == refused
	said(writing("rename", object.union(refund, {"subject": {"roles": ["clerk"]}})), catalogue) == refused
	said(writing("forget", {}), catalogue) == refused
	said(writing("touch", {}), catalogue) == allowed
	said(writing("bare", {}), catalogue) == refused
	said(testing.read({"resource": {"operation": "forget"}}), catalogue) == allowed
}

writing(statement, changes) := object.union(testing.write({"resource": {"operation": statement}}), changes)

test_an_actor_has_its_own_roles_alone if {
	said(testing.read({"subject": {"actor": "summarise"}}), testing.catalogue) == refused
	said(testing.read({"subject": {"actor": "undeclared"}}), testing.catalogue) == allowed
}

test_only_agents_of_the_catalogue_are_allowed if {
	said(testing.read({"subject": {"id": "stranger"}}), testing.catalogue) == refused
	said(testing.read({"subject": {"type": "person", "id": "support"}}), testing.catalogue) == refused
}

test_an_unknown_dataset_is_not_allowed if {
	said(testing.read({"resource": {"id": "elsewhere"}}), testing.catalogue) == silent
}

test_nothing_is_said_about_anything_else if {
	said(testing.call({}), testing.catalogue) == silent
	every roles in [["support"], []] {
		request := testing.read({"resource": {"type": "service", "id": "models"}, "subject": {"roles": roles}})
		said(request, testing.catalogue) == silent
	}
}
