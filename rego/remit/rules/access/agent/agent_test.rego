package remit.rules.access.agent_test

import data.remit.rules.access.agent
import data.remit.testing

allowed(request) := codes if {
	codes := agent.allow with input as request with data.remit.catalogue as testing.catalogue
}

test_an_agent_writes_to_an_agent if {
	allowed(testing.message({})) == {"allowed"}
}

test_an_unknown_sender_or_receiver_is_not_allowed if {
	allowed(testing.message({"subject": {"id": "stranger"}})) == set()
	allowed(testing.message({"subject": {"type": "person"}})) == set()
	allowed(testing.message({"resource": {"id": "stranger"}})) == set()
}

test_nothing_is_said_about_anything_else if {
	allowed(testing.send({})) == set()
	allowed(testing.message({"action": {"name": "data.read"}})) == set()
}
