package remit.rules.flow.clearance_test

import data.remit.rules.flow.clearance
import data.remit.testing

denied(request) := codes if codes := clearance.deny with input as request

holding(request, labels) := object.union(request, {"facts": {"labels": {label: ["d-1"] | some label in labels}}})

exceeded := {"flow_label_exceeds_clearance"}

test_a_session_without_labels_may_send_anywhere if {
	every request in [testing.call({}), testing.send({}), testing.tool({}), testing.message({}), testing.write({})] {
		denied(request) == set()
	}
}

test_labels_within_the_clearance_pass if {
	denied(holding(testing.call({}), ["pii"])) == set()
	denied(holding(testing.write({}), ["pii"])) == set()
}

test_a_single_label_outside_of_it_does_not if {
	every request in [testing.call({}), testing.send({}), testing.tool({}), testing.message({}), testing.write({})] {
		denied(holding(request, ["pii", "finance"])) == exceeded
	}
}

test_a_receiver_that_is_cleared_for_nothing_takes_no_label if {
	denied(holding(testing.send({}), ["pii"])) == exceeded
}

test_reading_and_deciding_send_nothing if {
	denied(holding(testing.read({}), ["finance"])) == set()
	denied(holding(testing.decide({}), ["finance"])) == set()
}
