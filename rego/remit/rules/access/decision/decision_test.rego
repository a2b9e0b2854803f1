package remit.rules.access.decision_test

import data.remit.rules.access.decision
import data.remit.testing

allowed(request) := codes if {
	codes := decision.allow with input as request with data.remit.catalogue as testing.catalogue
}

test_an_agent_decides if {
	allowed(testing.decide({})) == {"allowed"}
}

test_nobody_else_decides if {
	allowed(testing.decide({"subject": {"id": "stranger"}})) == set()
	allowed(testing.decide({"subject": {"type": "person", "id": "ana"}})) == set()
}

test_nothing_is_said_about_anything_else if {
	allowed(testing.call({})) == set()
	allowed(testing.decide({"resource": {"type": "service"}})) == set()
}
