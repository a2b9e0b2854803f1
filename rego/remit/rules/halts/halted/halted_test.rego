package remit.rules.halts.halted_test

import data.remit.rules.halts.halted
import data.remit.testing

denied(request) := codes if codes := halted.deny with input as request

halts := {"facts": {"halts": [{
	"id": "h-1",
	"scope": "agent",
	"value": "support",
	"by": "ana",
	"reason": "",
	"time": 1796083200,
}]}}

test_without_a_halt_all_goes_on if {
	denied(testing.call({})) == set()
	denied(testing.read({})) == set()
}

test_a_halt_stops_whatever_it_covers if {
	every request in [testing.call(halts), testing.read(halts), testing.message(halts), testing.open(halts)] {
		denied(request) == {"halted"}
	}
}

test_a_halt_can_be_lifted_under_a_halt if {
	denied(testing.halt(halts)) == set()
}

test_halts_that_are_not_told_count_as_halts if {
	denied(json.remove(testing.call({}), ["facts/halts"])) == {"halted"}
	denied(testing.call({"facts": {"halts": null}})) == {"halted"}
}
