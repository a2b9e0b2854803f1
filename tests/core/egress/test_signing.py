"""Key pairs that sign: one form, and nothing secret shown."""

from __future__ import annotations

import configparser

import pytest
from remit.core.egress.signing import SigningKey, read_key

ID, SECRET, SESSION = "AKIA0123456789ABCDEF", "abcdefghij+/klmnopqrst0123456789uvwxyzAB", "FwoGZXIvYXdzE+/Aa=="


@pytest.mark.parametrize("session", ["", SESSION])
def test_a_key_is_read_and_written_as_an_aws_client_reads_it(session: str) -> None:
    """A credentials file's text, whose only profile is the default one."""
    key = read_key(":".join(filter(None, (ID, SECRET, session))).encode())
    assert key == SigningKey(ID, SECRET, session)
    file = configparser.ConfigParser(interpolation=None)
    file.read_string(key.profile)
    wanted = {"aws_access_key_id": ID, "aws_secret_access_key": SECRET, "aws_session_token": session}
    assert dict(file["default"]) == {name: value for name, value in wanted.items() if value}
    assert file.sections() == ["default"]


def test_what_is_secret_is_not_shown_and_must_not_come_back() -> None:
    key = SigningKey(ID, SECRET, SESSION)
    assert SECRET not in repr(key) and SESSION not in repr(key)
    assert key.secrets == (SECRET.encode(), SESSION.encode())
    assert SigningKey(ID, SECRET).secrets == (SECRET.encode(),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ID,
        f"{ID}:",
        f"{ID}:short",
        f":{SECRET}",
        f"{ID}:{SECRET}:",
        f"{ID}:{SECRET}:{SESSION}:more",
        f"{ID} :{SECRET}",
        f"{ID}:{SECRET}\n[other]",
        f"{ID}:{SECRET}\naws_session_token=x",
        f"[default]\naws_access_key_id={ID}\naws_secret_access_key={SECRET}",
    ],
)
def test_anything_else_is_no_key(text: str) -> None:
    """Above all nothing that would write another line into the file."""
    assert read_key(text.encode()) is None
