package remit.rules.flow.reading_test

import data.remit.rules.flow.reading
import data.remit.testing

denied(request) := codes if {
	codes := reading.deny with input as request with data.remit.catalogue as testing.catalogue
}

exceeded := {"flow_label_exceeds_clearance"}

test_an_agent_reads_what_it_is_cleared_for if {
	denied(testing.read({})) == set()
	denied(testing.read({"resource": {"labels": []}})) == set()
	denied(testing.read({"resource": {"labels": ["pii", "untrusted"]}})) == set()
}

test_a_single_label_more_is_too_much if {
	denied(testing.read({"resource": {"labels": ["pii", "finance"]}})) == exceeded
}

test_an_actor_can_narrow_and_never_widen if {
	denied(testing.read({"subject": {"actor": "summarise"}})) == exceeded
	denied(testing.read({"subject": {"actor": "undeclared"}})) == set()
	denied(testing.read({"subject": {"actor": "undeclared"}, "resource": {"labels": ["finance"]}})) == exceeded
}

test_an_unknown_agent_is_cleared_for_nothing if {
	denied(testing.read({"subject": {"id": "stranger"}})) == exceeded
	denied(testing.read({"subject": {"id": "analysis"}})) == exceeded
}

test_what_a_statement_returns_is_read if {
	customers := {"statements": {"rename": {}}}
	named := object.union(testing.catalogue, {"datasets": {"customers": customers}})
	every labels, codes in {"pii": set(), "finance": exceeded} {
		asked := {"resource": {"operation": "rename", "labels": [labels]}}
		reading.deny == codes with input as testing.write(asked) with data.remit.catalogue as named
	}
}

test_other_actions_read_nothing if {
	denied(testing.write({"resource": {"labels": ["finance"]}})) == set()
	denied(testing.call({"resource": {"labels": ["finance"]}})) == set()
}
