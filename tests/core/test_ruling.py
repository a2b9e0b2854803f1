"""From verdict to ruling: nothing but a fulfilled, priced ALLOW allows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from remit.core.approval import Hold, Terms
from remit.core.decision import Effect, PolicyReason, Verdict
from remit.core.model import Context, Estimate, Identity, Mode, Request, Resource, Subject
from remit.core.obligation import Obligation
from remit.core.reason import Reason
from remit.core.ruling import refuse, rule, turn

AGENT = Subject("agent", "analysis", "cx", (), Identity("token", "analysis"))
REQUEST = Request(AGENT, "api.call", Resource("service", "openai"), Context())
KNOWN = Estimate(5)
HELD = Hold("access.x", "allowed", Terms(roles=("approver",)))


def verdict(effect: Effect, *obligations: str) -> Verdict:
    holds = (HELD,) if effect is Effect.HOLD else ()
    return Verdict(
        effect, (PolicyReason("access.x", "allowed"),), tuple(Obligation(o, {}) for o in obligations), holds, ()
    )


def observed(request: Request) -> Request:
    return replace(request, subject=replace(request.subject, mode=Mode.OBSERVE))


def test_a_hold_says_who_is_to_be_asked() -> None:
    """It permits nothing, and names what policy holds it for."""
    ruling = rule(verdict(Effect.HOLD), REQUEST, KNOWN, halted=False, metered=True)

    assert (ruling.effect, ruling.holds, ruling.permits) == (Effect.HOLD, (HELD,), False)


@pytest.mark.parametrize(
    ("halted", "obligations", "estimate", "reason"),
    [
        (True, (), KNOWN, Reason.HALTED),
        (False, ("blur",), KNOWN, Reason.OBLIGATION_UNSUPPORTED),
        (False, (), Estimate(None), Reason.PRICE_UNKNOWN),
    ],
)
def test_nobody_is_asked_to_approve_what_would_be_refused_anyway(
    halted: bool, obligations: tuple[str, ...], estimate: Estimate, reason: Reason
) -> None:
    """A halt, an obligation that nobody fulfils and an unknown price come before a hold."""
    ruling = rule(verdict(Effect.HOLD, *obligations), REQUEST, estimate, halted=halted, metered=True)

    assert (ruling.effect, ruling.reasons[0].code, ruling.holds) == (Effect.DENY, reason, ())


def test_what_is_unknown_is_said_first() -> None:
    """The other reasons, in policy's own order, follow from it."""
    found = [PolicyReason("access.owned", "no_owner"), PolicyReason("access.x", "role_not_granted")]
    unknown = PolicyReason("access.known", "unknown_resource")

    ruling = rule(replace(verdict(Effect.DENY), reasons=(*found, unknown)), REQUEST, KNOWN, halted=False, metered=False)

    assert ruling.reasons == (unknown, *found)


def test_an_obligation_that_the_caller_does_not_fulfil_denies() -> None:
    """The enforcement point names what it fulfils; another obligation is a refusal."""
    ruling = rule(verdict(Effect.ALLOW, "blur"), REQUEST, KNOWN, halted=False, metered=True)

    assert (ruling.effect, ruling.reasons[0].code) == (Effect.DENY, Reason.OBLIGATION_UNSUPPORTED)


def test_a_fulfilled_obligation_travels_with_the_allow() -> None:
    """What must be done comes back with the ALLOW."""
    request = replace(REQUEST, fulfils=frozenset({"blur"}))

    ruling = rule(verdict(Effect.ALLOW, "blur"), request, KNOWN, halted=False, metered=True)

    assert (ruling.effect, [each.id for each in ruling.obligations]) == (Effect.ALLOW, ["blur"])


def test_an_unknown_price_denies_whatever_policy_said() -> None:
    """What cannot be reserved is not allowed, even where a team switched the price rule off."""
    ruling = rule(verdict(Effect.ALLOW), REQUEST, Estimate(None), halted=False, metered=True)

    assert (ruling.effect, ruling.reasons[0].code) == (Effect.DENY, Reason.PRICE_UNKNOWN)


@given(st.sampled_from(Effect), st.booleans(), st.booleans(), st.sampled_from([KNOWN, Estimate(None)]), st.booleans())
def test_only_an_allow_allows(effect: Effect, halted: bool, metered: bool, estimate: Estimate, obliged: bool) -> None:
    """In enforce mode a ruling permits only if the verdict was ALLOW, fulfilled, priced, and nothing is halted."""
    told = verdict(effect, *(["blur"] if obliged else []))

    ruling = rule(told, REQUEST, estimate, halted=halted, metered=metered)

    priced = estimate.known or not metered
    assert ruling.permits is (effect is Effect.ALLOW and not halted and not obliged and priced)


@given(st.sampled_from(Effect), st.booleans())
def test_an_observed_agent_is_let_through_unless_a_halt_covers_it(effect: Effect, halted: bool) -> None:
    """Observe mode judges the same and binds only where a halt does."""
    ruling = rule(verdict(effect), observed(REQUEST), KNOWN, halted=halted, metered=True)

    assert ruling.enforced is halted
    assert ruling.effect is (Effect.DENY if halted else effect)


def test_the_stores_no_turns_an_allow_and_drops_its_obligations() -> None:
    """A budget without room denies what policy allowed."""
    request = replace(REQUEST, fulfils=frozenset({"blur"}))
    allowed = rule(verdict(Effect.ALLOW, "blur"), request, KNOWN, halted=False, metered=True)

    turned = turn(allowed, Reason.BUDGET_EXHAUSTED, "cx-month")

    assert (turned.effect, turned.obligations, turned.detail) == (Effect.DENY, (), "cx-month")
    assert not turned.permits


def test_only_failures_that_retrying_can_cure_are_marked_retryable() -> None:
    """OPA being away is; a forged workflow is not."""
    assert refuse(Reason.PDP_UNAVAILABLE, "", REQUEST).retryable
    assert not refuse(Reason.WORKFLOW_INVALID, "", REQUEST).retryable
