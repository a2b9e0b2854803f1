"""Asking an OPA that misbehaves: every failure has its reason, and the next good question is answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes.fake_opa import (
    ALLOW,
    DENY,
    REVISION,
    Behaviour,
    Exchange,
    FakeOpa,
    answer,
    http,
    judges,
    says,
)
from fakes.loop import in_loop, until
from remit.backends.opa_http import MAX_BODY_BYTES, dial_socket
from remit.backends.pdp_opa import OpaPdp, PdpSettings
from remit.core.decision import Effect
from remit.core.errors import PolicyFailure
from remit.core.reason import Reason

UNHURRIED = PdpSettings(deadline=30, batch_seconds=15, patience=15)
QUICK = PdpSettings(deadline=0.15, batch_seconds=0.05, patience=0.01)
GOOD = http(answer(ALLOW))


@asynccontextmanager
async def asking(
    directory: Path, behave: Behaviour, settings: PdpSettings = UNHURRIED
) -> AsyncIterator[tuple[FakeOpa, OpaPdp]]:
    async with FakeOpa(directory / "opa.sock", behave) as fake:
        pdp = OpaPdp(dial_socket(fake.path), REVISION, settings)
        try:
            yield fake, pdp
        finally:
            await pdp.close()


async def hang(exchange: Exchange) -> None:
    await exchange.gone()


async def drip(exchange: Exchange) -> None:
    for index in range(len(GOOD)):
        await exchange.send(GOOD[index : index + 1])
        await asyncio.sleep(0.01)


async def reset(exchange: Exchange) -> None:
    exchange.writer.transport.abort()


def then_close(raw: bytes) -> Behaviour:
    async def behave(exchange: Exchange) -> None:
        await exchange.send(raw)
        exchange.writer.close()

    return behave


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + end


def refused(code: str, line: str = "HTTP/1.1 500 Internal Server Error") -> bytes:
    body = {"code": "internal_error", "errors": [{"code": code, "message": "m", "location": {"row": 1}}]}
    return http(json.dumps(body).encode(), line=line)


def headed(*headers: str) -> bytes:
    return "\r\n".join(("HTTP/1.1 200 OK", *headers, "", "")).encode()


BODY = answer(ALLOW)
LENGTH = f"Content-Length: {len(BODY)}"
UNAVAILABLE, INVALID = Reason.PDP_UNAVAILABLE, Reason.POLICY_INVALID

FAILURES: dict[str, tuple[Behaviour, Reason]] = {
    "hangs": (hang, UNAVAILABLE),
    "drips": (drip, UNAVAILABLE),
    "resets": (reset, UNAVAILABLE),
    "closes before the answer": (then_close(b""), UNAVAILABLE),
    "cuts the head": (then_close(GOOD[:20]), UNAVAILABLE),
    "cuts the body": (then_close(GOOD[:-5]), UNAVAILABLE),
    "cuts a chunk": (then_close(chunked(BODY, end=b"")), UNAVAILABLE),
    "garbage": (says(b"\x00\xff" * 40 + b"\r\n\r\n"), UNAVAILABLE),
    "endless headers": (says(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 9000), UNAVAILABLE),
    "HTTP/1.0": (says(http(BODY, line="HTTP/1.0 200 OK")), UNAVAILABLE),
    "HTTP/2": (says(http(BODY, line="HTTP/2 200")), UNAVAILABLE),
    "an informational answer": (says(b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD), UNAVAILABLE),
    "a redirect": (
        says(http(BODY, line="HTTP/1.1 307 Temporary Redirect", headers=("Location: /v1/data",))),
        UNAVAILABLE,
    ),
    "HTTP 204": (says(b"HTTP/1.1 204 No Content\r\n\r\n"), UNAVAILABLE),
    "HTTP 201": (says(http(BODY, line="HTTP/1.1 201 Created")), UNAVAILABLE),
    "HTTP 404": (says(http(BODY, line="HTTP/1.1 404 Not Found")), UNAVAILABLE),
    "HTTP 500 with a verdict": (says(http(BODY, line="HTTP/1.1 500 Oops")), UNAVAILABLE),
    "HTTP 503": (says(http(b"busy", line="HTTP/1.1 503 Service Unavailable")), UNAVAILABLE),
    "no length": (then_close(headed() + BODY), UNAVAILABLE),
    "two lengths": (says(headed(LENGTH, LENGTH) + BODY), UNAVAILABLE),
    "a length and chunks": (says(headed(LENGTH, "Transfer-Encoding: chunked") + BODY), UNAVAILABLE),
    "a negative length": (says(headed("Content-Length: -1") + BODY), UNAVAILABLE),
    "a length with a sign": (says(headed(f"Content-Length: +{len(BODY)}") + BODY), UNAVAILABLE),
    "a length beyond the bound": (says(headed(f"Content-Length: {MAX_BODY_BYTES + 1}")), UNAVAILABLE),
    "chunks beyond the bound": (says(chunked(b" " * (MAX_BODY_BYTES + 1))), UNAVAILABLE),
    "a chunk without a size": (says(chunked(end=b"nope nope nope nope nope\r\n")), UNAVAILABLE),
    "a chunk of another size": (says(chunked(BODY).replace(b"\r\n0\r\n", b"xx0\r\n")), UNAVAILABLE),
    "trailers": (says(chunked(BODY, end=b"0\r\nx: y\r\n\r\n")), UNAVAILABLE),
    "an encoding": (says(headed("Content-Encoding: gzip", LENGTH) + BODY), UNAVAILABLE),
    "a folded header": (says(headed("a: b", " c", LENGTH) + BODY), UNAVAILABLE),
    "bytes after the answer": (says(GOOD + b"{}"), UNAVAILABLE),
    "two answers": (says(GOOD + GOOD), UNAVAILABLE),
    "another revision": (says(http(answer(ALLOW, revision="r0"))), UNAVAILABLE),
    "no provenance": (says(http(json.dumps({"result": ALLOW}).encode())), UNAVAILABLE),
    "two bundles": (
        says(
            http(
                json.dumps(
                    {
                        "provenance": {"bundles": {"a": {"revision": "r1"}, "b": {"revision": "r1"}}},
                        "result": ALLOW,
                    }
                ).encode()
            )
        ),
        UNAVAILABLE,
    ),
    "an evaluation that was cancelled": (says(refused("eval_cancel_error")), UNAVAILABLE),
    "HTTP 503 about an evaluation": (
        says(refused("eval_conflict_error", line="HTTP/1.1 503 Service Unavailable")),
        UNAVAILABLE,
    ),
    "a conflict": (says(refused("eval_conflict_error")), Reason.POLICY_ERROR),
    "a built-in that failed": (says(refused("eval_builtin_error")), Reason.POLICY_ERROR),
    "an internal error that is not the evaluation's": (says(refused("storage_error")), UNAVAILABLE),
    "undefined": (judges(lambda document: None), Reason.POLICY_UNDEFINED),
    "null": (says(http(answer(None))), INVALID),
    "true": (says(http(answer(True))), INVALID),
    "an empty object": (says(http(answer({}))), INVALID),
    "an unknown effect": (says(http(answer(ALLOW | {"effect": "PERMIT"}))), INVALID),
    "a verdict and something else": (says(http(BODY[:-1] + b', "warning": {}}')), INVALID),
    "two JSON values": (says(http(BODY + BODY)), INVALID),
    "a verdict twice": (says(http(BODY[:-1] + b', "result": ' + json.dumps(DENY).encode() + b"}")), INVALID),
    "HTML": (says(http(b"<html>ALLOW</html>")), INVALID),
    "an empty body": (says(http(b"")), INVALID),
    "a list": (says(http(b"[]")), INVALID),
    "deep nesting": (says(http(b"[" * 10_000 + b"]" * 10_000)), INVALID),
    "not UTF-8": (says(http(BODY.replace(b"ALLOW", b"\xff"))), INVALID),
}


@pytest.mark.parametrize("behave, reason", FAILURES.values(), ids=FAILURES.keys())
@in_loop
async def test_every_failure_has_its_reason_and_the_next_question_is_answered(
    tmp_path: Path, behave: Behaviour, reason: Reason
) -> None:
    async with asking(tmp_path, behave, QUICK) as (fake, pdp):
        with pytest.raises(PolicyFailure) as caught:
            await pdp.ask({"n": 1})
        assert caught.value.reason is reason, caught.value
        assert len(caught.value.detail) < 500
        fake.behave = says(GOOD)
        assert (await pdp.ask({"n": 2}, deadline_s=30)).effect is Effect.ALLOW


@in_loop
async def test_an_answer_is_the_same_in_whatever_pieces_it_comes(tmp_path: Path) -> None:
    middle = len(BODY) // 2
    for raw in (GOOD, chunked(BODY[:middle], BODY[middle:])):

        async def piecemeal(exchange: Exchange, raw: bytes = raw) -> None:
            for index in range(len(raw)):
                await exchange.send(raw[index : index + 1])
                await asyncio.sleep(0)

        async with asking(tmp_path, piecemeal, PdpSettings(deadline=5)) as (_, pdp):
            assert (await pdp.ask({"n": 1})).effect is Effect.ALLOW


@in_loop
async def test_no_opa_at_all_is_pdp_unavailable(tmp_path: Path) -> None:
    pdp = OpaPdp(dial_socket(tmp_path / "nothing.sock"), REVISION, QUICK)
    with pytest.raises(PolicyFailure) as caught:
        await pdp.ask({"n": 1})
    assert caught.value.reason is UNAVAILABLE
    await pdp.close()


@in_loop
async def test_a_kept_connection_that_opa_closed_is_opened_again_unseen(tmp_path: Path) -> None:
    async with asking(tmp_path, says(GOOD)) as (fake, pdp):
        await pdp.ask({"n": 1})

        async def close_and_forget(exchange: Exchange) -> None:
            fake.behave = says(GOOD)
            exchange.writer.close()

        fake.behave = close_and_forget
        assert (await pdp.ask({"n": 2}, deadline_s=30)).effect is Effect.ALLOW
        assert [exchange.body["input"]["n"] for exchange in fake.exchanges] == [1, 2, 2]


@in_loop
async def test_a_question_is_asked_at_most_twice_when_opa_keeps_closing(tmp_path: Path) -> None:
    async with asking(tmp_path, says(GOOD)) as (fake, pdp):
        await pdp.ask({"n": 1})
        fake.behave = reset
        with pytest.raises(PolicyFailure):
            await pdp.ask({"n": 2})
        assert len(fake.exchanges) == 3


@pytest.mark.parametrize("kept", [False, True])
@in_loop
async def test_a_question_that_may_have_been_judged_is_not_asked_again(tmp_path: Path, kept: bool) -> None:
    """Neither after a part of an answer, nor on a connection that was opened for it."""
    async with asking(tmp_path, says(GOOD)) as (fake, pdp):
        if kept:
            await pdp.ask({"n": 1})
        fake.behave = then_close(GOOD[:20] if kept else b"")
        with pytest.raises(PolicyFailure):
            await pdp.ask({"n": 2})
        assert [exchange.body["input"]["n"] for exchange in fake.exchanges].count(2) == 1


@in_loop
async def test_a_question_whose_asker_is_gone_is_not_put_to_opa(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def wait(exchange: Exchange) -> None:
        await release.wait()
        await exchange.send(GOOD)

    one_connection = PdpSettings(connections=1, most_connections=1, deadline=30)
    async with asking(tmp_path, wait, one_connection) as (fake, pdp):
        first = asyncio.create_task(pdp.ask({"n": 1}))
        await until(lambda: bool(fake.exchanges))
        for n in (2, 3, 4):
            with pytest.raises(PolicyFailure):
                await pdp.ask({"n": n}, deadline_s=0.01)
        release.set()
        await first
        await pdp.ask({"n": 5})
        assert [exchange.body["input"]["n"] for exchange in fake.exchanges] == [1, 5]


@in_loop
async def test_an_answer_that_comes_after_its_deadline_reaches_nobody(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def late(exchange: Exchange) -> None:
        if exchange.body["input"]["n"] == 1:
            await release.wait()
            await exchange.send(http(answer(ALLOW)))
        else:
            await exchange.send(http(answer(DENY)))

    one_connection = PdpSettings(connections=1, most_connections=1, deadline=0.05)
    async with asking(tmp_path, late, one_connection) as (_, pdp):
        with pytest.raises(PolicyFailure, match="did not answer within"):
            await pdp.ask({"n": 1})
        release.set()
        for n in range(2, 12):
            assert (await pdp.ask({"n": n}, deadline_s=30)).effect is Effect.DENY


@in_loop
async def test_an_asker_that_gives_up_leaves_nothing_behind(tmp_path: Path) -> None:
    async with asking(tmp_path, hang, PdpSettings(connections=1, most_connections=1, deadline=30)) as (fake, pdp):
        asked = [asyncio.create_task(pdp.ask({"n": n})) for n in range(3)]
        await until(lambda: bool(fake.exchanges))
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        await asyncio.wait_for(pdp.drain(), 1)
        fake.behave = says(GOOD)
        assert (await pdp.ask({"n": 9})).effect is Effect.ALLOW


@in_loop
async def test_closing_answers_every_open_question(tmp_path: Path) -> None:
    async with asking(tmp_path, hang, PdpSettings(deadline=30)) as (fake, pdp):
        asked = [asyncio.create_task(pdp.ask({"n": n})) for n in range(9)]
        await until(lambda: len(fake.exchanges) >= 2)
        await pdp.close()
        for outcome in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(outcome, PolicyFailure) and outcome.reason is UNAVAILABLE
        with pytest.raises(PolicyFailure):
            await pdp.ask({"n": 1})


# Batches


def by_kind(document: dict[str, Any]) -> Any:
    """Allows, denies, is undefined or fails as the input's `kind` says."""
    return {"good": ALLOW, "bad": DENY, "undefined": None, "strange": {"effect": "ALLOW"}, "error": ZeroDivisionError}[
        document["kind"]
    ]


def judge(document: dict[str, Any]) -> Any:
    verdict = by_kind(document)
    if verdict is ZeroDivisionError:
        raise ZeroDivisionError("conflict")
    return verdict


WANTED: dict[str, Effect | Reason] = {
    "good": Effect.ALLOW,
    "bad": Effect.DENY,
    "undefined": Reason.POLICY_UNDEFINED,
    "strange": Reason.POLICY_INVALID,
    "error": Reason.POLICY_ERROR,
    "slow": Reason.PDP_UNAVAILABLE,
}


async def outcome(pdp: OpaPdp, document: dict[str, Any]) -> Effect | Reason:
    try:
        return (await pdp.ask(document)).effect
    except PolicyFailure as failure:
        return failure.reason


async def all_at_once(pdp: OpaPdp, kinds: list[str]) -> None:
    """Ask all in one go and check that each got its own answer."""
    documents = [{"kind": kind, "n": n} for n, kind in enumerate(kinds)]
    found = await asyncio.gather(*(outcome(pdp, document) for document in documents))
    assert list(found) == [WANTED[kind] for kind in kinds]


MIXED = ["good", "bad", "undefined", "good", "strange", "good", "bad", "undefined", "good", "bad"] * 4


@in_loop
async def test_questions_that_wait_share_a_query_and_each_gets_its_own_answer(tmp_path: Path) -> None:
    async with asking(tmp_path, judges(judge)) as (fake, pdp):
        await all_at_once(pdp, ["good", "bad"] * 40)
        batches = [len(exchange.batch) for exchange in fake.exchanges if exchange.batch is not None]
        assert sum(batches) == 78 and max(batches) == 64
        assert len(fake.exchanges) <= 5


@in_loop
async def test_undefined_and_ill_shaped_verdicts_stay_their_own(tmp_path: Path) -> None:
    async with asking(tmp_path, judges(judge)) as (_, pdp):
        await all_at_once(pdp, MIXED)


@in_loop
async def test_a_question_that_fails_evaluation_spoils_no_other(tmp_path: Path) -> None:
    async with asking(tmp_path, judges(judge)) as (_, pdp):
        await all_at_once(pdp, [*MIXED, "error", *MIXED, "error"])


@in_loop
async def test_a_slow_question_spoils_no_other(tmp_path: Path) -> None:
    quick = judges(judge)

    async def slow_or_quick(exchange: Exchange) -> None:
        inputs = [each["input"] for each in exchange.batch.values()] if exchange.batch else [exchange.body["input"]]
        await (hang if any(each.get("kind") == "slow" for each in inputs) else quick)(exchange)

    async with asking(tmp_path, slow_or_quick, PdpSettings(deadline=3.0, batch_seconds=0.05)) as (fake, pdp):
        await all_at_once(pdp, ["slow", *MIXED, "slow", "slow", *MIXED, "error"])
        await all_at_once(pdp, MIXED)
        await until(lambda: len(fake.open) <= 2)


@in_loop
async def test_the_pool_grows_for_those_who_wait_behind_slow_questions(tmp_path: Path) -> None:
    async def only_two_hang(exchange: Exchange) -> None:
        await (hang if exchange.body["input"].get("n", 9) < 2 else says(GOOD))(exchange)

    async with asking(tmp_path, only_two_hang, PdpSettings(deadline=30, patience=0.01)) as (_, pdp):
        stuck = [asyncio.create_task(pdp.ask({"n": n})) for n in range(2)]
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            assert (await pdp.ask({"n": 2}, deadline_s=30)).effect is Effect.ALLOW
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)


Spoil = Callable[[dict[str, dict[str, Any]]], dict[str, Any]]


def spoils(spoil: Spoil) -> Behaviour:
    """A correct OPA, but for what becomes of a batch's answers."""
    correct = judges(judge)

    async def behave(exchange: Exchange) -> None:
        if exchange.batch is None:
            await correct(exchange)
            return
        entries = {
            key: {"digest": entry["digest"], "decision": judge(entry["input"])} for key, entry in exchange.batch.items()
        }
        await exchange.send(http(answer(spoil(entries))))

    return behave


def positional(entries: dict[str, Any]) -> dict[str, Any]:
    """The bug that batching invites: undefined decisions drop out, and the others move up."""
    defined = [entry["decision"] for entry in entries.values() if entry["decision"] is not None]
    return {key: entry | {"decision": verdict} for (key, entry), verdict in zip(entries.items(), defined, strict=False)}


def shifted(entries: dict[str, Any]) -> dict[str, Any]:
    """The same, with each answer's own digest."""
    defined = [entry for entry in entries.values() if entry["decision"] is not None]
    return dict(zip(entries, defined, strict=False))


def rotated(entries: dict[str, Any]) -> dict[str, Any]:
    values = list(entries.values())
    return dict(zip(entries, values[1:] + values[:1], strict=True))


def without_digest(entries: dict[str, Any]) -> dict[str, Any]:
    return {key: {"decision": ALLOW} for key in entries}


def foreign(entries: dict[str, Any]) -> dict[str, Any]:
    return {key: entry | {"decision": ALLOW} for key, entry in entries.items()} | {"x": {"decision": ALLOW}}


def bare(entries: dict[str, Any]) -> dict[str, Any]:
    return dict.fromkeys(entries, ALLOW)


def a_list(entries: dict[str, Any]) -> Any:
    return [ALLOW for _ in entries]


@pytest.mark.parametrize(
    "spoil", [shifted, rotated, without_digest, foreign, bare, a_list, lambda _: {}, lambda _: None]
)
@in_loop
async def test_a_batch_whose_answers_are_not_each_their_question_s_own_is_not_believed(
    tmp_path: Path, spoil: Spoil
) -> None:
    async with asking(tmp_path, spoils(spoil), PdpSettings(deadline=5)) as (_, pdp):
        await all_at_once(pdp, MIXED)


@in_loop
async def test_the_check_of_this_file_sees_answers_that_moved(tmp_path: Path) -> None:
    """The echo of a digest is the only thing between a moved answer and its victim: a liar in OPA's place wins."""
    async with asking(tmp_path, spoils(positional), PdpSettings(deadline=5)) as (_, pdp):
        with pytest.raises(AssertionError):
            await all_at_once(pdp, MIXED)


@in_loop
async def test_a_probe_wants_both_entry_points_to_agree(tmp_path: Path) -> None:
    async with asking(tmp_path, judges(lambda document: DENY)) as (fake, pdp):
        await pdp.probe({"kind": "probe"})
        for broken in (spoils(lambda entries: {}), spoils(without_digest)):
            fake.behave = _answers_single(broken)
            with pytest.raises(PolicyFailure):
                await pdp.probe({"kind": "bad"})


def _answers_single(batch: Behaviour) -> Callable[[Exchange], Awaitable[None]]:
    async def behave(exchange: Exchange) -> None:
        await (says(http(answer(DENY))) if exchange.batch is None else batch)(exchange)

    return behave
