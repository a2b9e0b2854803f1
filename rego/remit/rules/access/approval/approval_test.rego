package remit.rules.access.approval_test

import data.remit.rules.access.approval
import data.remit.testing

said(request) := verdict if {
	verdict := {"allow": approval.allow, "deny": approval.deny} with input as request
		with data.remit.catalogue as testing.catalogue
}

allowed := {"allow": {"allowed"}, "deny": set()}

refused := {"allow": set(), "deny": {"role_not_granted"}}

asking(properties) := {"resource": {"properties": properties}}

operation(name) := {"resource": {"operation": name, "ref": sprintf("a-1/%s", [name])}}

person(id, roles) := {"subject": {"type": "person", "id": id, "roles": roles, "identity": {"subject": id}}}

agent(id) := {"subject": {"type": "agent", "id": id, "roles": [], "identity": {"subject": id}}}

every_verdict := ["approve", "deny", "hold", "revoke"]

test_a_person_with_a_role_that_is_named_may_say_anything if {
	every name in every_verdict {
		said(testing.resolve(operation(name))) == allowed
	}
}

test_without_named_roles_it_is_the_approvers if {
	unnamed := asking({"roles": []})
	said(testing.resolve(object.union(unnamed, person("cy", ["approver"])))) == allowed
	said(testing.resolve(unnamed)) == refused
}

test_a_person_without_the_role_may_not_and_an_operator_is_none if {
	said(testing.resolve(person("cy", ["approver"]))) == refused
	said(testing.resolve(person("ana", ["operator"]))) == refused
}

test_an_operator_lifts_the_halt_that_a_failure_placed if {
	failed := object.union(asking({"policy": "failure.loop"}), person("ana", ["operator"]))
	said(testing.resolve(failed)) == allowed
	said(testing.resolve(object.union(failed, asking({"policy": "custom.failure"})))) == refused
}

test_a_person_whom_the_catalogue_does_not_list_may_not if {
	said(testing.resolve(person("stranger", ["finance"]))) == refused
	said(testing.resolve(object.union(person("stranger", []), asking({"addressee": "stranger"})))) == refused
}

test_the_sidecar_s_own_operator_needs_no_entry if {
	local := object.union(person("operator", ["operator"]), {"subject": {"identity": {"method": "local"}}})
	every name in every_verdict {
		said(testing.resolve(object.union(local, operation(name)))) == allowed
	}
	said(testing.resolve(object.union(local, {"subject": {"roles": []}}))) == refused
	said(testing.resolve(object.union(local, {"subject": {"type": "agent"}}))).deny == {"role_not_granted"}
}

test_the_supervisor_whose_turn_it_is_may if {
	asked := object.union(agent("lead"), asking({"addressee": "lead", "chain": ["lead"], "level": 0}))
	every name in every_verdict {
		said(testing.resolve(object.union(asked, operation(name)))) == allowed
	}
	human := object.union(person("ana", []), asking({"addressee": "ana"}))
	said(testing.resolve(human)) == allowed
}

test_a_supervisor_whose_turn_it_is_not_may_not if {
	passed := object.union(agent("lead"), asking({"addressee": "", "chain": ["lead"], "level": 1}))
	said(testing.resolve(passed)) == refused
	said(testing.resolve(object.union(agent("lead"), asking({"addressee": "chief"})))) == refused
}

test_an_agent_s_roles_and_names_are_no_person_s if {
	said(testing.resolve({"subject": {"type": "agent"}})) == refused
	said(testing.resolve(object.union(agent("stranger"), asking({"addressee": "stranger"})))) == refused
	said(testing.resolve(object.union(person("lead", []), asking({"addressee": "lead"})))) == refused
}

test_nobody_resolves_what_they_asked_for if {
	own := asking({"subject": "bo"})
	every name in every_verdict {
		said(testing.resolve(object.union(own, operation(name)))).deny == {"approval_own"}
	}
	supervised := asking({"subject": "lead", "addressee": "lead"})
	said(testing.resolve(object.union(agent("lead"), supervised))).deny == {"approval_own"}
}

test_an_agent_approves_only_what_it_may_read if {
	labelled := object.union({"resource": {"labels": ["pii"]}}, asking({"addressee": "lead"}))
	said(testing.resolve(object.union(agent("lead"), labelled))) == allowed
	unread := object.union_n([agent("lead"), labelled, {"resource": {"labels": ["pii", "finance"]}}])
	said(testing.resolve(unread)).deny == {"flow_label_exceeds_clearance"}
	every name in ["deny", "hold", "revoke"] {
		said(testing.resolve(object.union(unread, operation(name)))) == allowed
	}
}

test_a_person_approves_without_a_clearance if {
	said(testing.resolve({"resource": {"labels": ["pii"]}})) == allowed
}

test_the_clock_is_the_sidecar_s_alone if {
	over := testing.expire({})
	said(over) == allowed
	said(object.union(over, asking({"subject": "remit"}))) == allowed
	every other in [{"type": "agent"}, {"type": "person"}, {"id": "analysis"}, {"identity": {"method": "token"}}] {
		said(object.union(over, {"subject": other})).deny == {"role_not_granted"}
	}
	said(testing.resolve(operation("timeout"))) == refused
	every name in every_verdict {
		said(object.union(over, operation(name))).deny & {"role_not_granted"} == {"role_not_granted"}
	}
}

test_what_is_no_verdict_is_refused if {
	said(testing.resolve(operation("approved"))) == refused
	said(testing.resolve(operation(""))) == refused
}

test_only_approvals_are_resolved if {
	said(testing.resolve({"resource": {"type": "decision"}})).allow == set()
}

test_nothing_is_said_about_agents_at_work if {
	said(testing.call({})) == {"allow": set(), "deny": set()}
}
