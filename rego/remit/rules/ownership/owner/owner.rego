# METADATA
# title: Somebody owns it
# description: A team answers for every service and dataset, and for each link of the chain behind it.
# schemas:
#   - input: schema.input
# custom:
#   owner: remit
#   codes:
#     no_owner: "nobody owns {resource.ref}, or a link of the chain behind it"
package remit.rules.ownership.owner

deny contains "no_owner" if {
	input.action.name in {"data.read", "data.write", "api.call", "tool.call", "message.send"}
	not _owned
}

_owned if {
	_answered
	every link in input.facts.chain {
		link.owner > ""
	}
}

# Everything that sorts after "" is a name; nothing, or null, does not.
_answered if input.resource.owner > ""

_answered if input.resource.type == "agent"
