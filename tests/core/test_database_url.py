"""Where a dataset's data lie: a strict reading of its URL."""

from __future__ import annotations

import pytest
from remit.core.database_url import PostgresPlace, SqlitePlace, UrlRefused, parse_url

SYSTEM = {"sslmode": "verify-full", "sslrootcert": "system"}


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("sqlite:///var/lib/x.db", SqlitePlace("/var/lib/x.db")),
        ("sqlite:///a%20b/c%23.db", SqlitePlace("/a b/c#.db")),
        ("postgresql://r@db.internal/crm", PostgresPlace("db.internal", 5432, "r", "crm", SYSTEM)),
        ("postgres://r@[::1]:6432/crm", PostgresPlace("::1", 6432, "r", "crm", SYSTEM)),
        (
            "postgresql://r@h/crm?sslmode=verify-ca&sslrootcert=/ca.pem&connect_timeout=3",
            PostgresPlace(
                "h", 5432, "r", "crm", {"sslmode": "verify-ca", "sslrootcert": "/ca.pem", "connect_timeout": "3"}
            ),
        ),
        ("postgresql://r@h/crm?sslmode=disable", PostgresPlace("h", 5432, "r", "crm", {"sslmode": "disable"})),
        ("postgresql://r@/crm?host=/run/postgresql", PostgresPlace("/run/postgresql", 5432, "r", "crm", {})),
        ("postgresql://r%40x@h/c%2Bd", PostgresPlace("h", 5432, "r@x", "c+d", SYSTEM)),
    ],
)
def test_a_url_names_a_place(url: str, place: object) -> None:
    """Over TCP the server is verified unless the URL says otherwise."""
    assert parse_url(url) == place


@pytest.mark.parametrize(
    "url",
    [
        *("", "x", "mysql://h/d", "sqlite://x.db", "sqlite:x.db", "sqlite:///", "sqlite:///a/../b.db"),
        *("sqlite:///a.db?mode=rw", "sqlite:///a%00.db", "sqlite:///a.db#x", "sqlite://host/a.db"),
        *("postgresql://r:needle@h/d", "postgresql://h/d", "postgresql://r@h/", "postgresql://r@h/a/b"),
        *("postgresql://r@/d", "postgresql://r@h:x/d", "postgresql://r@h:99999/d", "postgresql://r@a,b/d"),
        *("postgresql://r@h/d?sslmode=prefer", "postgresql://r@h/d?sslmode=allow", "postgresql://r@h/d?sslmode=needle"),
        *("postgresql://r@h/d?options=-c%20x", "postgresql://r@h/d?password=needle", "postgresql://r@h/d?service=x"),
        *("postgresql://r@h/d?passfile=/x", "postgresql://r@h/d?sslmode=disable&sslmode=require"),
        *("postgresql://r@h/d?host=/run", "postgresql://r@/d?host=/run&sslmode=require", "postgresql://r@h/d?x"),
        *("postgresql://r@h/d?connect_timeout=0", "postgresql://r@h/d?connect_timeout=61"),
        *("postgresql://r@h/d?connect_timeout=needle", "postgresql://r@h/d?host=b", "postgresql://r@h/d#needle"),
        *("needle://r@h/d", "postgresql://r@h/d?needle=1", "postgresql://r@needle,h/d", "postgresql://r@h:needle/d"),
        *("postgresql://r@h:0/d", "postgresql://r%00@h/d", "postgresql://r@h/d?application_name=%0aneedle"),
    ],
)
def test_any_other_url_is_refused_without_its_secrets(url: str) -> None:
    """What was found and expected is said; a password that stood in it is not, wherever it stood."""
    with pytest.raises(UrlRefused) as caught:
        parse_url(url)

    assert caught.value.found and caught.value.expected
    assert "needle" not in str(caught.value)
