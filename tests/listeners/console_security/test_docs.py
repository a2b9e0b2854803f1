"""docs/sign-in.md says what is so."""

from __future__ import annotations

from pathlib import Path

from remit.listeners.console import attempts, oidc, security, sessions, sign_in

PAGE = " ".join((Path(__file__).parents[3] / "docs" / "sign-in.md").read_text(encoding="utf-8").split())


def test_the_page_has_the_bounds_that_hold() -> None:
    """Each number as it is in the code."""
    said = [
        f"{sessions.IDLE_SECONDS // 60} minutes without a visit",
        f"after {sessions.LIFE_SECONDS // 3600} hours",
        f"up to {sessions.PER_PERSON} at once, all together {sessions.IN_ALL}",
        f"{oidc.MAX_ANSWER_BYTES // 1024} KiB not read, and {oidc.EXCHANGE_SECONDS:.0f} seconds",
        f"more than {security.MAX_BODY_BYTES // 1024} KiB of form, {security.MAX_TARGET_BYTES // 1024} KiB of address, "
        f"{security.MAX_HEAD_BYTES // 1024} KiB of headers",
        f"come within {security.BODY_SECONDS:.0f} seconds; an answer that is not there within "
        f"{security.REQUEST_SECONDS:.0f}; more than {security.MAX_AT_ONCE} at once",
        f"`PUBLIC_URL{sign_in.BACK_PATH}`",
    ]
    assert [each for each in said if each not in PAGE] == []
    assert (attempts.AT_ONCE, attempts.EACH_SECONDS) == (10, 30)
    assert (attempts.AT_ONCE_IN_ALL, attempts.EACH_SECONDS_IN_ALL) == (100, 1)
    assert (sign_in.CROSSING_SECONDS, oidc.LEEWAY_SECONDS) == (600, 60)
