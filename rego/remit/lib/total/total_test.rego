package remit.lib.total_test

import data.remit.lib.total
import data.remit.testing

test_every_builder_makes_a_whole_input if {
	every request in [
		testing.call({}), testing.send({}), testing.tool({}), testing.read({}), testing.write({}),
		testing.message({}), testing.decide({}), testing.open({}), testing.halt({}), testing.adjust({}),
		testing.claim({}), testing.ticket({}), testing.reviewed({}), testing.resolve({}), testing.expire({}),
	] {
		total.holds with input as request
	}
}

test_a_missing_field_at_any_depth_is_seen if {
	every path in [
		"subject", "facts", "subject/id", "subject/identity/method", "action/name", "resource/owner",
		"context/workflow", "facts/halts", "facts/estimate/known", "facts/budgets/1/held", "facts/chain/1/owner",
		"facts/acts", "facts/history", "facts/history/repeats",
	] {
		not total.holds with input as json.remove(testing.call({}), [path])
	}
}

test_a_claim_or_an_act_that_lacks_a_field_is_seen if {
	claim := {"object": "7", "holder": "support", "workflow": "w-1", "own": true, "expires": 1796083260}
	act := {"agent": "analysis", "operation": "find", "decision": "d-1", "time": 1796083100}
	request := testing.tool({"facts": {"claims": [claim], "acts": [act]}})
	total.holds with input as request
	every path in ["facts/claims/0/own", "facts/claims/0/holder", "facts/acts/0/agent", "facts/acts/0/operation"] {
		not total.holds with input as json.remove(request, [path])
	}
}

test_an_approval_that_lacks_a_property_is_seen if {
	request := testing.resolve({})
	every name, _ in request.resource.properties {
		not total.holds with input as json.remove(request, [sprintf("resource/properties/%s", [name])])
	}
	every name in ["kind", "by", "verdict", "level"] {
		not total.holds with input as json.remove(request, [sprintf("resource/properties/verdicts/0/%s", [name])])
	}
	total.holds with input as testing.resolve({"resource": {"properties": {"more": 1}}})
	total.holds with input as testing.decide({"resource": {"properties": {}}})
}

test_a_field_too_many_is_seen if {
	not total.holds with input as testing.call({"extra": {}})
	not total.holds with input as testing.call({"resource": {"owners": ""}})
}

test_an_object_that_is_none_is_seen if {
	every wrong in [null, [], "", 0] {
		not total.holds with input as testing.call({"facts": wrong})
		not total.holds with input as testing.call({"facts": {"estimate": wrong}})
		not total.holds with input as testing.call({"facts": {"budgets": [wrong]}})
		not total.holds with input as testing.call({"facts": {"history": wrong}})
		not total.holds with input as testing.call({"facts": {"claims": [wrong]}})
		not total.holds with input as testing.call({"facts": {"acts": [wrong]}})
		not total.holds with input as testing.resolve({"resource": {"properties": wrong}})
	}
}
