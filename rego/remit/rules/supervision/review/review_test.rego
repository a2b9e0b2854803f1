package remit.rules.supervision.review_test

import data.remit.rules.supervision.review
import data.remit.testing

reviewed(actions) := object.union(testing.catalogue, {"agents": {"support": {"review": actions}}})

held(request, actions) := holds if {
	holds := review.hold with input as request with data.remit.catalogue as reviewed(actions)
}

required := {{
	"code": "review_required",
	"approval": {"supervisor": true, "roles": ["approver"], "bind": "exact"},
}}

test_what_is_listed_is_reviewed if {
	held(testing.write({}), ["tool.call", "data.write"]) == required
	held(testing.call({}), ["api.call"]) == required
}

test_nothing_else_is if {
	held(testing.write({}), []) == set()
	held(testing.read({}), ["data.write"]) == set()
}

test_others_are_not_reviewed_for_it if {
	held(testing.write({"subject": {"id": "analysis"}}), ["data.write"]) == set()
	held(testing.halt({}), ["control.halt"]) == set()
}
