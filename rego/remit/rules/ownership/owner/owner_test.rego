package remit.rules.ownership.owner_test

import data.remit.rules.ownership.owner
import data.remit.testing

denied(request) := codes if codes := owner.deny with input as request

link(owner_) := {"service": "connector", "owner": owner_, "region": "", "external": true}

test_what_has_an_owner_passes if {
	every request in [testing.call({}), testing.send({}), testing.tool({}), testing.read({}), testing.write({})] {
		denied(request) == set()
	}
}

test_what_has_none_does_not if {
	every request in [testing.call({}), testing.send({}), testing.tool({}), testing.read({}), testing.write({})] {
		denied(object.union(request, {"resource": {"owner": ""}})) == {"no_owner"}
		denied(object.union(request, {"resource": {"owner": null}})) == {"no_owner"}
	}
}

test_one_link_of_the_chain_without_an_owner_is_too_many if {
	denied(testing.call({"facts": {"chain": [link("platform"), link("integrations")]}})) == set()
	denied(testing.call({"facts": {"chain": [link("platform"), link("")]}})) == {"no_owner"}
	denied(testing.call({"facts": {"chain": [link(null), link("integrations")]}})) == {"no_owner"}
}

test_agents_are_their_teams_and_decisions_their_agents if {
	denied(testing.message({"resource": {"owner": ""}})) == set()
	denied(testing.decide({})) == set()
}
