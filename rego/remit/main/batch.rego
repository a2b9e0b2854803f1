package remit

# METADATA
# title: Batch
# description: |
#   Decides several requests in one query: `{"batch": {ID: {"digest", "input"}}}` gives `{ID: {"digest", "decision"}}`.
#   The answers are keyed by the requests' ids, and each echoes its input's digest: a request whose decision is
#   undefined is missing from the answer, and no neighbour's can move into its place.
# entrypoint: true
batch[id] := {"digest": request.digest, "decision": verdict} if {
	some id, request in input.batch
	verdict := decision with input as request.input
}
