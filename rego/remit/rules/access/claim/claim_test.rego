package remit.rules.access.claim_test

import data.remit.rules.access.claim
import data.remit.testing

said(request) := verdict if {
	verdict := {"allow": claim.allow, "deny": claim.deny} with input as request
		with data.remit.catalogue as testing.catalogue
}

allowed := {"allow": {"allowed"}, "deny": set()}

silent := {"allow": set(), "deny": set()}

thing(type, id) := {"resource": {"type": type, "id": id, "ref": id}}

test_an_agent_claims_objects_and_what_admits_it if {
	every each in [
		thing("object", "case-7"), thing("dataset", "customers"), thing("service", "models"), thing("tool", "search"),
		thing("agent", "support"),
	] {
		said(testing.claim(each)) == allowed
	}
}

test_an_agent_claims_itself_and_those_it_supervises_and_no_other if {
	said(testing.claim(thing("agent", "analysis"))) == silent
	supervised := object.union(testing.catalogue, {"agents": {"analysis": {"supervisor": "support"}}})
	claim.allow == {"allowed"} with input as testing.claim(thing("agent", "analysis"))
		with data.remit.catalogue as supervised
}

test_what_does_not_admit_it_is_not_its_to_keep_others_out_of if {
	every each in [thing("dataset", "customers"), thing("service", "models")] {
		said(testing.claim(object.union(each, {"subject": {"roles": ["clerk"]}}))) == {
			"allow": set(),
			"deny": {"role_not_granted"},
		}
	}
}

test_an_agent_that_is_not_listed_claims_nothing if {
	every each in [thing("object", "case-7"), thing("agent", "analysis")] {
		said(testing.claim(object.union(each, {"subject": {"id": "stranger"}}))) == silent
		said(testing.claim(object.union(each, {"subject": {"type": "person", "id": "ana"}}))) == silent
	}
}

test_what_is_not_listed_or_never_acted_on_is_not_claimed if {
	every each in [
		thing("dataset", "elsewhere"), thing("agent", "elsewhere"), thing("workflow", "w-1"), thing("budget", "cx-month"),
		thing("approval", "a-1"), thing("scope", "support"),
	] {
		said(testing.claim(each)) == silent
	}
}

test_nothing_is_said_about_other_actions if {
	said(testing.read({})) == silent
	said(testing.call({})) == silent
}
