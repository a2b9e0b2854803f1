package remit.batch_test

import data.remit.testing

asked(digest, request) := {"digest": digest, "input": request}

answers(requests) := batch if {
	batch := data.remit.batch with input as {"batch": requests} with data.remit.catalogue as testing.catalogue
}

test_each_request_of_a_batch_gets_its_own_answer_and_digest if {
	requests := {"r-1": testing.call({}), "r-2": testing.call({"resource": {"owner": ""}}), "r-3": testing.read({})}
	batch := answers({id: asked(concat("", ["digest of ", id]), request) | some id, request in requests})
	{id: [answer.digest, answer.decision.effect] | some id, answer in batch} == {
		"r-1": ["digest of r-1", "ALLOW"],
		"r-2": ["digest of r-2", "DENY"],
		"r-3": ["digest of r-3", "ALLOW"],
	}
}

test_a_batched_answer_is_the_single_answer if {
	request := testing.call({"resource": {"variant": "large"}})
	single := data.remit.decision with input as request with data.remit.catalogue as testing.catalogue
	answers({"r-1": asked("d", request)}) == {"r-1": {"digest": "d", "decision": single}}
}

test_a_request_that_is_not_whole_is_denied_between_its_neighbours if {
	batch := answers({"a": asked("1", testing.call({})), "b": asked("2", {}), "c": asked("3", testing.read({}))})
	{id: answer.decision.effect | some id, answer in batch} == {"a": "ALLOW", "b": "DENY", "c": "ALLOW"}
}

test_a_request_without_input_or_digest_is_missing_and_no_neighbour_moves_up if {
	batch := answers({
		"a": {"digest": "1"},
		"b": {"input": testing.call({})},
		"c": asked("3", testing.call({"resource": {"owner": ""}})),
		"d": "nonsense",
	})
	{id: answer.decision.effect | some id, answer in batch} == {"c": "DENY"}
}

test_nothing_asked_is_nothing_answered if {
	answers({}) == {}
	data.remit.batch == {} with input as {}
}
