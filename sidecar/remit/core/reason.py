"""The closed list of reasons: one enum, the same in proto, Python, Rego, metrics and docs.

A custom rule's own codes are not here: they are `policy` + `code`, declared in the rule's metadata.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a decision came out as it did; the value is the code on every wire."""

    ALLOWED = "allowed"
    DEFAULT_DENY = "default_deny"
    POLICY_UNDEFINED = "policy_undefined"
    POLICY_INVALID = "policy_invalid"
    POLICY_ERROR = "policy_error"
    PDP_UNAVAILABLE = "pdp_unavailable"
    STORE_UNAVAILABLE = "store_unavailable"
    UNAUTHENTICATED = "unauthenticated"
    CONTEXT_INVALID = "context_invalid"
    WORKFLOW_INVALID = "workflow_invalid"
    PURPOSE_NOT_GRANTED = "purpose_not_granted"
    ARGUMENT_MISSING = "argument_missing"
    UNKNOWN_ACTION = "unknown_action"
    UNKNOWN_RESOURCE = "unknown_resource"
    ROLE_NOT_GRANTED = "role_not_granted"
    NO_OWNER = "no_owner"
    BUDGET_EXHAUSTED = "budget_exhausted"
    PRICE_UNKNOWN = "price_unknown"
    VARIANT_NOT_LISTED = "variant_not_listed"
    LIMIT_EXCEEDED = "limit_exceeded"
    APPROVAL_REQUIRED = "approval_required"
    FLOW_LABEL_EXCEEDS_CLEARANCE = "flow_label_exceeds_clearance"
    HALTED = "halted"
    FACTS_CHANGED = "facts_changed"
    OBLIGATION_UNSUPPORTED = "obligation_unsupported"
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch"
    PASSPORT_INVALID = "passport_invalid"
    PASSPORT_USED = "passport_used"
    REQUEST_UNMAPPED = "request_unmapped"
    HOSTED_TOOL_NOT_LISTED = "hosted_tool_not_listed"
    REQUEST_MALFORMED = "request_malformed"
    CREDENTIAL_UNAVAILABLE = "credential_unavailable"
    ENDPOINT_UNAVAILABLE = "endpoint_unavailable"
    TUNNEL_NOT_ALLOWED = "tunnel_not_allowed"
    VIEW_REFUSED = "view_refused"
    DATABASE_UNAVAILABLE = "database_unavailable"
    APPROVAL_DENIED = "approval_denied"
    APPROVAL_EXPIRED = "approval_expired"
    APPROVAL_OWN = "approval_own"
    APPROVALS_EXHAUSTED = "approvals_exhausted"
    ALTERNATIVE_OFFERED = "alternative_offered"
    REVIEW_REQUIRED = "review_required"
    CLAIM_HELD = "claim_held"
    CLAIM_LOST = "claim_lost"
    CLAIMS_EXHAUSTED = "claims_exhausted"
    CONFLICT_DETECTED = "conflict_detected"
    LOOP_DETECTED = "loop_detected"
    RETRIES_EXHAUSTED = "retries_exhausted"


@dataclass(frozen=True, slots=True)
class Explanation:
    """When a reason is raised, whether the same request may succeed later by itself, and what would change it."""

    raised: str
    retryable: bool
    remedy: str


EXPLANATIONS: dict[Reason, Explanation] = {
    Reason.ALLOWED: Explanation("A rule allowed the action and none denied or held it.", False, "Nothing to change."),
    Reason.DEFAULT_DENY: Explanation(
        "No rule allowed the action.", False, "Add a rule, or grant the agent a role or purpose that a rule allows."
    ),
    Reason.POLICY_UNDEFINED: Explanation(
        "OPA answered without a result: the entry point is missing or misspelt.", False, "Repair the policy bundle."
    ),
    Reason.POLICY_INVALID: Explanation(
        "OPA's result does not have the shape of a decision, or of a view.", False, "Repair the rule that produced it."
    ),
    Reason.POLICY_ERROR: Explanation(
        "Evaluating the policy failed (a conflict, or a built-in function's error).", False, "Repair the rule."
    ),
    Reason.PDP_UNAVAILABLE: Explanation(
        "OPA could not be reached, or did not answer in time.", True, "Ask again; the sidecar restarts its OPA."
    ),
    Reason.STORE_UNAVAILABLE: Explanation(
        "The store could not record the decision durably.", True, "Ask again once the store's disk is well."
    ),
    Reason.UNAUTHENTICATED: Explanation(
        "The caller proved no identity, or another one than it claims.", False, "Present the agent's own credential."
    ),
    Reason.CONTEXT_INVALID: Explanation(
        "The context is malformed, or names a parent that is not of this workflow.", False, "Correct the context."
    ),
    Reason.WORKFLOW_INVALID: Explanation(
        "The workflow's signed context is forged, expired, closed, or not this agent's.",
        False,
        "Use the context that OpenWorkflow or Accept returned, before it ends.",
    ),
    Reason.PURPOSE_NOT_GRANTED: Explanation(
        "The purpose is neither the workflow's nor, without a workflow, one of the agent's.",
        False,
        "Name a purpose that the workflow was opened with, or have it added to the agent.",
    ),
    Reason.ARGUMENT_MISSING: Explanation("An argument that a rule needs is absent.", False, "Send the argument."),
    Reason.UNKNOWN_ACTION: Explanation("The action's name is not one of Remit's.", False, "Use a known action."),
    Reason.UNKNOWN_RESOURCE: Explanation(
        "The resource is not in the catalogue.",
        False,
        "Add it to the catalogue, with an owner; an operation to its service's `operations`.",
    ),
    Reason.ROLE_NOT_GRANTED: Explanation(
        "The resource names roles or purposes that may use it, and the caller has none of them.",
        False,
        "Grant the caller one of the roles or purposes that the catalogue names.",
    ),
    Reason.NO_OWNER: Explanation(
        "Nobody answers for the resource, or for a link of the chain behind it.", False, "Name an owner."
    ),
    Reason.BUDGET_EXHAUSTED: Explanation(
        "A budget that selects the call has no room for its estimate.",
        False,
        "Wait for the next window, choose a cheaper variant, or have the budget adjusted.",
    ),
    Reason.PRICE_UNKNOWN: Explanation(
        "No price, or no exchange rate, is known for the call, so it cannot be reserved.",
        False,
        "Add the price to the catalogue (public prices are in USD: `exchange` needs a rate), "
        "or bound the usage: in the call, or by the variant's `max`.",
    ),
    Reason.VARIANT_NOT_LISTED: Explanation(
        "The service does not list the variant.", False, "Use a listed variant, or add this one to the catalogue."
    ),
    Reason.LIMIT_EXCEEDED: Explanation(
        "The stated usage is above the variant's maximum for this caller.", False, "Ask for less."
    ),
    Reason.APPROVAL_REQUIRED: Explanation(
        "A rule holds the action until somebody approves it.", False, "Ask for approval, or use a cheaper variant."
    ),
    Reason.FLOW_LABEL_EXCEEDS_CLEARANCE: Explanation(
        "The session holds, or would read, a label that whoever receives it is not cleared for.",
        False,
        "Read no column that brings the label, or have it masked; send from a session without it; or have it cleared.",
    ),
    Reason.HALTED: Explanation(
        "A halt covers the caller, workflow, service, or the policy revision that judges it.", False, "Have it resumed."
    ),
    Reason.FACTS_CHANGED: Explanation("Facts changed twice while the decision was being made.", True, "Ask again."),
    Reason.OBLIGATION_UNSUPPORTED: Explanation(
        "The policy obliges the enforcement point to something it does not fulfil.",
        False,
        "Use an enforcement point that fulfils it.",
    ),
    Reason.IDEMPOTENCY_MISMATCH: Explanation(
        "The idempotency key was used before with another request.", False, "Use a new key."
    ),
    Reason.PASSPORT_INVALID: Explanation(
        "The passport is forged, expired, or made out to another agent.", False, "Ask the sender for a new one."
    ),
    Reason.PASSPORT_USED: Explanation("The passport was accepted before.", False, "Ask the sender for a new one."),
    Reason.REQUEST_UNMAPPED: Explanation(
        "The request is none of those that the service's entry knows: its route, a field of its body, or a tool in it.",
        False,
        "Send a request that the entry maps, or add a route for it.",
    ),
    Reason.HOSTED_TOOL_NOT_LISTED: Explanation(
        "The request turns on a tool that the provider runs itself, and the service's operations do not list it.",
        False,
        "Leave the tool out, or add its name to the service's operations.",
    ),
    Reason.REQUEST_MALFORMED: Explanation(
        "The request's target, headers or body are not in their one canonical form: two readers might differ over it.",
        False,
        "Send the request in its canonical form.",
    ),
    Reason.CREDENTIAL_UNAVAILABLE: Explanation(
        "The service has no credential for this caller, or it cannot be read.",
        True,
        "Add a credential that selects the caller, or repair the file or variable that holds it.",
    ),
    Reason.ENDPOINT_UNAVAILABLE: Explanation(
        "The service has no address that may be dialled: its name leads nowhere, or only to refused addresses.",
        True,
        "Repair the name, or list the network in the endpoint's `addresses`.",
    ),
    Reason.TUNNEL_NOT_ALLOWED: Explanation(
        "A tunnel was asked for to a service that is not `opaque`.",
        False,
        "Call the service through the egress, or declare it `opaque`.",
    ),
    Reason.VIEW_REFUSED: Explanation(
        "The statement is not one that Remit can vouch for, or no view of the dataset is written.",
        False,
        "Ask as the message says (docs/views.md lists what is taken), or have the view written.",
    ),
    Reason.DATABASE_UNAVAILABLE: Explanation(
        "The dataset's database cannot be reached, or is not as the catalogue says.",
        True,
        "Ask again; the sidecar's log says what is wrong.",
    ),
    Reason.APPROVAL_DENIED: Explanation(
        "Somebody who was asked to approve it said no, or took the approval back.",
        False,
        "Do something else; it can be asked for again ten minutes later.",
    ),
    Reason.APPROVAL_EXPIRED: Explanation(
        "Nobody who was asked to approve it answered in time.",
        False,
        "Do something else; it can be asked for again ten minutes later.",
    ),
    Reason.APPROVAL_OWN: Explanation(
        "Whoever asked for an approval tried to resolve it.", False, "Have it resolved by somebody else."
    ),
    Reason.APPROVALS_EXHAUSTED: Explanation(
        "As many requests of the agent wait for approval as may.", False, "Wait until some of them are resolved."
    ),
    Reason.ALTERNATIVE_OFFERED: Explanation(
        "It is not allowed as it was asked for; changed as the answer says, it is.",
        False,
        "Send the changed request: doing so accepts it.",
    ),
    Reason.REVIEW_REQUIRED: Explanation(
        "The agent's supervisor must review the action before it is done.",
        False,
        "Wait for the review.",
    ),
    Reason.CLAIM_HELD: Explanation(
        "Another agent, or another run of the same one, holds a claim on what is acted on.",
        False,
        "Wait until it is released or has expired, or do something else.",
    ),
    Reason.CLAIM_LOST: Explanation(
        "The claim that the action was to be done under is not held any more.",
        False,
        "Take the claim anew, and look again at what it is about.",
    ),
    Reason.CLAIMS_EXHAUSTED: Explanation("The agent holds as many claims as it may.", False, "Release some of them."),
    Reason.CONFLICT_DETECTED: Explanation(
        "Another agent has done something in the same workflow that contradicts it.",
        False,
        "Leave it as it is, or have those who answer for the agents settle it.",
    ),
    Reason.LOOP_DETECTED: Explanation(
        "The agent did the very same again and again.", False, "Do something else, or find out why it does not work."
    ),
    Reason.RETRIES_EXHAUSTED: Explanation(
        "The action failed as often as it may be tried.", False, "Do something else; it can be tried again later."
    ),
}


def known(code: str) -> Reason | None:
    """The library's reason of a code; None for a custom rule's own."""
    return _BY_CODE.get(code)


def retryable(reason: Reason) -> bool:
    """Whether asking again, unchanged, may succeed."""
    return EXPLANATIONS[reason].retryable


_BY_CODE = {reason.value: reason for reason in Reason}
