# METADATA
# title: The catalogue's entries that a request is about
# schemas:
#   - input: schema.input
package remit.lib.catalogue

# METADATA
# description: The entry of the request's resource; undefined where the catalogue has none.
entry := data.remit.catalogue.services[input.resource.id] if input.resource.type in {"service", "tool"}

entry := data.remit.catalogue.datasets[input.resource.id] if input.resource.type == "dataset"

entry := data.remit.catalogue.agents[input.resource.id] if input.resource.type == "agent"

entry := data.remit.catalogue.budgets[input.resource.id] if input.resource.type == "budget"

# METADATA
# description: The entry of the agent that acts; undefined for people, and for agents that are not listed.
agent := data.remit.catalogue.agents[input.subject.id] if input.subject.type == "agent"

# METADATA
# description: Whether the roles and purposes that the resource names, where it names any, admit the agent that acts.
admitted if {
	agent
	_role
	_purpose
}

_role if object.get(entry, "roles", []) == []

_role if {
	some role in entry.roles
	role in input.subject.roles
}

_purpose if object.get(entry, "purposes", []) == []

_purpose if input.context.purpose in entry.purposes
