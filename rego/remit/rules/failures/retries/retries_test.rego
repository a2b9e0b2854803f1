package remit.rules.failures.retries_test

import data.remit.rules.failures.retries
import data.remit.testing

denied(request, answer) := codes if {
	codes := retries.deny with input as request with data.remit.failure as {"failed": answer}
}

done(failures) := testing.call({"context": {"workflow": "w-1"}, "facts": {"history": {"failures": failures}}})

three := {"limit": 3, "answer": "deny"}

exceeded := {"retries_exhausted"}

test_up_to_the_limit_all_goes_on if {
	denied(done(0), three) == set()
	denied(done(2), three) == set()
}

test_from_the_limit_on_it_does_not if {
	denied(done(3), three) == exceeded
	denied(done(4), three) == exceeded
	workflow := {"context": {"workflow": "w-1"}, "facts": {"history": {"failures": 3}}}
	every request in [
		testing.read(workflow), testing.write(workflow), testing.send(workflow), testing.tool(workflow),
		testing.message(workflow), testing.decide(workflow),
	] {
		denied(request, three) == exceeded
	}
}

test_outside_of_workflows_nothing_is_counted if {
	denied(testing.call({"facts": {"history": {"failures": 9}}}), three) == set()
}

test_a_limit_of_0_and_other_answers_deny_nothing if {
	denied(done(9), {"limit": 0, "answer": "deny"}) == set()
	every answer in ["none", "compensate", "escalate", "halt"] {
		denied(done(9), {"limit": 3, "answer": answer}) == set()
	}
}

test_tried_again_is_up_to_the_limit_too if {
	denied(done(3), {"limit": 3, "answer": "retry"}) == exceeded
	denied(done(2), {"limit": 3, "answer": "retry"}) == set()
}

test_oversight_and_claims_are_not_counted if {
	workflow := {"context": {"workflow": "w-1"}, "facts": {"history": {"failures": 9}}}
	every request in [testing.claim(workflow), testing.halt(workflow), testing.resolve(workflow)] {
		denied(request, three) == set()
	}
}

test_what_is_not_told_counts_as_too_often if {
	every path in ["facts/history", "facts/history/failures", "context/workflow"] {
		denied(json.remove(done(3), [path]), three) == exceeded
	}
	denied(done(null), three) == exceeded
	denied(testing.call({"context": {"workflow": null}, "facts": {"history": {"failures": 3}}}), three) == exceeded
}
