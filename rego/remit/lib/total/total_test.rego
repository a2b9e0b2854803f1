package remit.lib.total_test

import data.remit.lib.total
import data.remit.testing

test_every_builder_makes_a_whole_input if {
	every request in [
		testing.call({}), testing.send({}), testing.tool({}), testing.read({}), testing.write({}),
		testing.message({}), testing.decide({}), testing.open({}), testing.halt({}), testing.adjust({}),
	] {
		total.holds with input as request
	}
}

test_a_missing_field_at_any_depth_is_seen if {
	every path in [
		"subject", "facts", "subject/id", "subject/identity/method", "action/name", "resource/owner",
		"context/workflow", "facts/halts", "facts/estimate/known", "facts/budgets/1/held", "facts/chain/1/owner",
	] {
		not total.holds with input as json.remove(testing.call({}), [path])
	}
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
	}
}
