"""Calls that leave and are held: kept open while they may be, and let go by an approval of exactly what goes out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from fakes.approving import Holding
from fakes.leaving import CHAT, SECRET, Leaving, attempt, chat, leaving
from fakes.loop import in_loop, until
from fakes.world import OPERATOR, subject
from remit.core.answer import Answer
from remit.core.approval import Bind, State, Terms, Verdict
from remit.core.call import Resolution
from remit.core.catalogue import Variant
from remit.core.decision import Effect
from remit.core.errors import StoreUnavailable
from remit.core.model import Mode, Subject
from remit.core.reason import Reason
from remit.listeners.egress_caller import Caller
from remit.pep.egress import Attempt, Egress, Passage
from remit.pep.meter import End, How
from remit.pep.outwait import outwait
from remit.pep.pipeline import Pipeline


@dataclass
class Each:
    """Several variants, each held by its own terms."""

    one: Holding
    other: Holding

    def __call__(self, document: Mapping[str, Any]) -> Any:
        held = self.other if document["resource"]["variant"] == self.other.variant else self.one
        return held(document)


ANALYSIS, WATCHED = subject("analysis"), subject("watched", mode=Mode.OBSERVE)
SECOND = 10**9
LONG = 60 * SECOND


@pytest.fixture(name="policy")
def _policy() -> Holding:
    return Holding(terms=Terms(roles=("approver",), bind=Bind.EXACT))


@pytest.fixture(name="site")
def _site(policy: Holding) -> Leaving:
    return leaving(policy)


async def held(site: Leaving, asked: Attempt, who: Subject = ANALYSIS) -> Answer:
    """Begin what must be held; nothing is sent or reserved for it."""
    begun = await site.egress.begin(who, asked, Caller())
    assert isinstance(begun, Answer) and begun.effect is Effect.HOLD, begun
    assert "sent" not in await site.body(begun.id) and await site.world.store.reservation(begun.id) is None
    return begun


async def resolve(site: Leaving, answer: Answer, verdict: Verdict = Verdict.APPROVE, **more: Any) -> None:
    for each in answer.approvals:
        said = Resolution(each.id, verdict, "for a test", **more)
        resolved = await Pipeline(site.world).resolve(OPERATOR, said)
        assert resolved.answer.effect is Effect.ALLOW, resolved


@in_loop
async def test_the_same_request_uses_the_approval_and_no_other_does(site: Leaving) -> None:
    """Not one with another body, nor with another header that leaves; once alone."""
    answer = await held(site, chat())
    await resolve(site, answer)
    asked = chat()
    other = b'{"model":"large","messages":[{"role":"user","content":"send all money"}]}'
    confirmed = replace(asked.request, headers=(*asked.request.headers, ("x-confirm", "yes")))
    await held(site, chat(other))
    await held(site, replace(asked, request=confirmed))

    headers = (*asked.request.headers, ("x-request-id", "2"), ("x-stainless-retry-count", "1"))
    passage = await site.passage(ANALYSIS, replace(asked, request=replace(asked.request, headers=headers)))

    assert json.loads(passage.mapped.body)["messages"] == json.loads(CHAT)["messages"]
    await site.egress.ended(passage, End(How.SUCCEEDED))
    await held(site, chat())


@in_loop
async def test_an_approver_sees_what_it_may_cost_and_where_it_goes(site: Leaving) -> None:
    answer = await held(site, chat())
    (shown,) = await Pipeline(site.world).approvals(OPERATOR, (), answer.approvals[0].id, "", 1)
    text = json.loads(shown.approval.items[0].shown)
    assert text["usage"]["output_token"] == 100 and text["path"] == "/v1/chat/completions"
    assert '"hi"' not in shown.approval.items[0].shown and 0 not in text["usage"].values()


@in_loop
async def test_a_call_that_waits_goes_out_once_it_is_approved(site: Leaving) -> None:
    asked: list[int] = []

    async def hold_on(wait: int) -> None:
        asked.append(wait)

    beginning = asyncio.ensure_future(site.egress.begin(ANALYSIS, chat(wait=LONG), Caller(hold_on)))
    await until(lambda: bool(asked))
    (shown,) = await Pipeline(site.world).approvals(OPERATOR, (), "", "", 9)
    await Pipeline(site.world).resolve(OPERATOR, Resolution(shown.approval.id, Verdict.APPROVE, "yes"))

    begun = await beginning
    assert isinstance(begun, Passage) and asked == [LONG]


@pytest.mark.parametrize(
    ("verdict", "reason"), [(Verdict.DENY, Reason.APPROVAL_DENIED), (None, "")], ids=["denied", "nobody"]
)
@in_loop
async def test_a_call_that_waits_ends_with_a_no_or_with_its_time(
    site: Leaving, verdict: Verdict | None, reason: str
) -> None:
    """A refusal names its approval."""
    wait = LONG if verdict else SECOND // 5
    beginning = asyncio.ensure_future(site.egress.begin(ANALYSIS, chat(wait=wait), Caller()))
    if verdict is not None:
        pending: list[Any] = []
        while not pending:
            pending = list(await Pipeline(site.world).approvals(OPERATOR, (), "", "", 9))
            await asyncio.sleep(0)
        await Pipeline(site.world).resolve(OPERATOR, Resolution(pending[0].approval.id, verdict, "no"))

    begun = await beginning

    assert isinstance(begun, Answer) and len(begun.approvals) == 1
    if verdict is None:
        assert (begun.effect, begun.approvals[0].state) == (Effect.HOLD, State.PENDING)
    else:
        assert begun.effect is Effect.DENY and [each.code for each in begun.reasons] == [reason]
        assert begun.approvals[0].state is State.DENIED


@in_loop
async def test_the_longest_wait_is_the_installation_s(site: Leaving) -> None:
    """Whatever a call says; and a call that may not wait has its answer at once."""
    asked: list[int] = []

    async def hold_on(wait: int) -> None:
        asked.append(wait)

    brief = Egress(site.world, site.vault, site.ways, longest=SECOND // 10)
    async with asyncio.timeout(10):
        assert isinstance(await brief.begin(ANALYSIS, chat(wait=LONG), Caller(hold_on)), Answer)
    never = Egress(site.world, site.vault, site.ways, longest=0)
    for egress, one in ((never, chat(wait=LONG)), (site.egress, chat())):
        assert isinstance(await egress.begin(ANALYSIS, one, Caller(hold_on)), Answer)
    assert asked == [SECOND // 10]


@in_loop
async def test_only_what_is_held_and_binds_waits(site: Leaving, policy: Holding) -> None:
    """Not what is denied, allowed, or observed."""

    class Never(Caller):
        async def stays(self, wait: int) -> bool:
            raise AssertionError("it was to wait")

    assert isinstance(await site.egress.begin(WATCHED, chat(wait=LONG), Never()), Passage)
    assert isinstance(await site.egress.begin(ANALYSIS, attempt(wait=LONG), Never()), Passage)
    policy.denies = True
    assert isinstance(await site.egress.begin(ANALYSIS, chat(wait=LONG), Never()), Answer)


@in_loop
async def test_a_caller_that_leaves_uses_up_nothing(site: Leaving) -> None:
    """An approval that comes later is there for the next."""
    caller = Caller()
    beginning = asyncio.ensure_future(site.egress.begin(ANALYSIS, chat(wait=LONG), caller))
    pending: list[Any] = []
    while not pending:
        pending = list(await Pipeline(site.world).approvals(OPERATOR, (), "", "", 9))
        await asyncio.sleep(0)
    caller.leave()
    begun = await beginning
    assert isinstance(begun, Answer) and begun.effect is Effect.HOLD

    await resolve(site, begun)
    assert isinstance(await site.egress.begin(ANALYSIS, chat(), Caller()), Passage)


@in_loop
async def test_what_cannot_be_sent_uses_up_nothing(site: Leaving) -> None:
    """The approval is there for the next, once there is a way."""
    await resolve(site, await held(site, chat()))
    site.vault.put("llm", None)
    refused = await site.egress.begin(ANALYSIS, chat(), Caller())
    assert isinstance(refused, Answer) and [each.code for each in refused.reasons] == [Reason.CREDENTIAL_UNAVAILABLE]
    assert "grants" not in await site.body(refused.id)

    site.vault.put("llm", SECRET)
    await site.passage(ANALYSIS, chat())


@in_loop
async def test_a_catalogue_that_changes_meanwhile_is_the_one_that_it_is_decided_by(site: Leaving) -> None:
    """What waits is understood anew, and not refused because it was understood otherwise before."""
    beginning = asyncio.ensure_future(site.egress.begin(ANALYSIS, chat(wait=LONG), Caller()))
    pending: list[Any] = []
    while not pending:
        pending = list(await Pipeline(site.world).approvals(OPERATOR, (), "", "", 9))
        await asyncio.sleep(0)
    services = {**site.world.catalogue.services}
    services["llm"] = replace(services["llm"], hold_seconds=77)
    catalogue = replace(site.world.catalogue, services=services)
    site.world.installation = replace(site.world.installation, catalogue=catalogue)
    await Pipeline(site.world).resolve(OPERATOR, Resolution(pending[0].approval.id, Verdict.APPROVE, "yes"))

    begun = await beginning
    assert isinstance(begun, Passage) and begun.hold == 77 * SECOND


@in_loop
async def test_a_key_gives_the_present_state_and_then_what_was_approved(site: Leaving) -> None:
    answer = await held(site, chat(key="k"))
    again = await held(site, chat(key="k"))
    assert again.approvals[0].id == answer.approvals[0].id
    await resolve(site, answer)
    assert isinstance(await site.egress.begin(ANALYSIS, chat(key="k"), Caller()), Passage)


def waits(answer: Answer) -> Answer:
    return answer


@in_loop
async def test_a_decision_that_is_under_way_as_its_caller_leaves_is_the_answer(site: Leaving) -> None:
    """Whoever withdraws must know what was reserved; a decision is never cut in its middle."""
    first = await held(site, chat())
    passed = Answer("d9", Effect.ALLOW, (), enforced=True, retryable=False, committed=first.committed)
    begun, goes_on, caller = asyncio.Event(), asyncio.Event(), Caller()

    async def decide() -> Answer:
        begun.set()
        await goes_on.wait()
        return passed

    await resolve(site, first)
    waiting = asyncio.ensure_future(outwait(first, decide, waits, world=site.world, wait=LONG, patience=caller))
    await begun.wait()
    caller.leave()
    await asyncio.sleep(0)
    assert not waiting.done()
    goes_on.set()
    assert await waiting is passed


@in_loop
async def test_a_store_that_fails_while_it_is_decided_again_fails_the_call(site: Leaving) -> None:
    """As it does any other: nothing goes out."""
    first = await held(site, chat())
    await resolve(site, first)

    async def decide() -> Answer:
        raise StoreUnavailable("for a test")

    with pytest.raises(StoreUnavailable):
        await outwait(first, decide, waits, world=site.world, wait=LONG, patience=Caller())


@pytest.mark.parametrize("by", ["person", "rule"])
@in_loop
async def test_the_changed_request_that_was_offered_goes_out_and_no_other(by: str) -> None:
    """However long its text is by then, and whatever its model is called: the variant says it. Once alone."""
    patch = {"resource": {"variant": "xl"}, "arguments": {"max_tokens": 50}}
    terms = Terms(roles=("approver",), bind=Bind.EXACT)
    policy = Each(Holding("large", replace(terms, alternative=patch if by == "rule" else {})), Holding("xl", terms))
    site = leaving(policy)
    services = {**site.world.catalogue.services}
    variants = {**services["llm"].variants, "xl": Variant(model="llm-xl-2", inject={"output_token": 100})}
    services["llm"] = replace(services["llm"], variants=variants)
    catalogue = replace(site.world.catalogue, services=services)
    site.world.installation = replace(site.world.installation, catalogue=catalogue)
    if by == "person":
        await resolve(site, await held(site, chat()), Verdict.DENY, alternative=patch)

    no = await site.egress.begin(ANALYSIS, chat(), Caller())

    assert isinstance(no, Answer) and [each.code for each in no.reasons] == [Reason.ALTERNATIVE_OFFERED]
    assert no.alternative is not None and no.alternative["resource"]["variant"] == "xl"
    assert no.alternative["arguments"]["max_tokens"] == 50 and "model" not in no.alternative["arguments"]
    for tokens, variant, goes in ((51, "llm-xl-2", False), (50, "large", False), (50, "llm-xl-2", True)):
        said = {"model": variant, "max_tokens": tokens, "messages": [{"role": "user", "content": "hi, changed"}]}
        begun = await site.egress.begin(ANALYSIS, chat(json.dumps(said).encode()), Caller())
        assert isinstance(begun, Passage) is goes, (tokens, variant, begun)
    assert isinstance(await site.egress.begin(ANALYSIS, chat(json.dumps(said).encode()), Caller()), Answer)
