"""A catalogue is read from a file or a directory, exactly, and whatever is wrong with a file is told."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from remit.config import CatalogueInvalid, fingerprint, load
from remit.config.datasets import MAX_COLUMNS, MAX_TABLES
from remit.config.files import MAX_BYTES, MAX_FILES
from remit.config.problem import MAX_PROBLEMS
from remit.config.reading import Section
from remit.core.canonical import encode
from remit.core.catalogue import Approval, Catalogue, Conflicts, Credential, Identity, Price, Rate
from remit.core.dataset import DataSource, NamedStatement, ReadLimits, Table
from remit.core.kubernetes import ServiceAccount
from remit.core.model import Resource
from remit.core.price import estimate
from remit.core.selector import Selector

FULL = Path(__file__).parents[1] / "cases" / "catalogue_full.yaml"
EUR = 1_000_000_000
DAY = 86_400 * EUR
SMALL = "currency: EUR\nteams: {cx: {}}\n"


@pytest.fixture(scope="module")
def full() -> Catalogue:
    return load([FULL], {}, {})[1]


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Writes files (name → text) into a directory, and gives the directory."""

    def write(**files: str) -> Path:
        for name, text in files.items():
            (tmp_path / f"{name}.yaml").write_text(text)
        return tmp_path

    return write


def refusal(*paths: Path) -> CatalogueInvalid:
    with pytest.raises(CatalogueInvalid) as refused:
        load(paths, {}, {})
    return refused.value


def test_the_full_example_is_read_exactly(full: Catalogue) -> None:
    """Amounts, dates, shares, durations and addresses are what is written, none of it rounded."""
    assert full.exchange == (
        Rate("USD", "EUR", 910_000_000, since=20_727 * DAY),
        Rate("USD", "EUR", 920_000_000, since=20_758 * DAY),
        Rate("GBP", "EUR", 1_140_000_000),
    )
    assert full.prices[2] == Price(
        match="openai/large*",
        unit="input_token",
        per=1_000_000,
        amount=4_100_000_000,
        currency="USD",
        since=20_727 * DAY,
        above=200_000,
        applies="whole_call",
    )
    openai = full.services["openai"]
    assert openai.variants["large"].approval == Approval(
        ("finance",), "variant", 50, 20_500_000_000, 4 * 3600, supervisor=True, quorum=2, wait=1800
    )
    assert openai.variants["large"].max == {"input_token": 400_000, "output_token": 4000}
    assert openai.credentials == (
        Credential(file="/secrets/openai-cx", when=Selector((("team", ("cx",)),))),
        Credential(
            environment="OPENAI_KEY",
            header="authorization",
            prefix="Bearer ",
            endpoints=("us",),
            paths=("/chat/",),
            methods=("POST",),
        ),
    )
    month = full.budgets["cx-month"]
    assert (month.limit, month.zone) == (2000 * EUR, ZoneInfo("Europe/Berlin"))
    assert month.warn == (Fraction(1, 2), Fraction(4, 5))
    assert month.caps == {"*": Fraction(3, 10), "support": Fraction(1, 2)}
    assert full.budgets["each-run"].limit == 3_750_000_000


def test_oversight_is_read_exactly(full: Catalogue) -> None:
    """Who sees what, what is reviewed and by how many approved, what contradicts and what undoes."""
    assert full.people["ana"].clearance == ("pii",)
    assert (full.agents["support"].review, full.agents["support"].priority) == (("message.send", "decision.make"), 10)
    assert (full.agents["lead"].review, full.agents["lead"].priority) == ((), 0)
    terms = full.services["openai"].overrides[0].variants["large"]
    assert terms.approval == Approval((), supervisor=True)
    mail = full.services["mail"]
    assert mail.conflicts == Conflicts((("send", "recall"), ("send", "send")), "/to", "escalate")
    assert mail.compensations == {"send": "recall"}


@pytest.mark.parametrize("priority", [-1000, 1000])
def test_a_priority_may_be_as_high_or_low_as(priority: int, written: Callable[..., Path]) -> None:
    """The bounds themselves are within."""
    path = written(a=SMALL + f"agents: {{a: {{team: cx, priority: {priority}}}}}\n")
    assert load([path], {}, {})[1].agents["a"].priority == priority


def test_a_conflict_is_about_all_of_a_resource_unless_it_says_otherwise(written: Callable[..., Path]) -> None:
    """An empty pointer is the whole, as in RFC 6901; a service that lists no operations has any."""
    service = "services: {s: {conflicts: {%sbetween: [[a, b]]}, compensations: {a: b}}}\n"
    for number, pointer in enumerate(["", "object: '', "]):
        path = written(**{f"f{number}": SMALL + service % pointer}) / f"f{number}.yaml"
        assert load([path], {}, {})[1].services["s"].conflicts == Conflicts((("a", "b"),), "", "first-wins")


def test_datasets_are_read_exactly(full: Catalogue) -> None:
    """Places, passwords' places, limits, names in the database, and a write with its owner and cost."""
    crm, notes = full.datasets["crm"], full.datasets["notes"]
    assert crm.reader == DataSource(
        "postgresql://remit_reader@db.example.com:5432/crm?sslmode=verify-full", file="/secrets/crm-reader"
    )
    assert crm.writer == DataSource("postgresql://remit_writer@db.example.com:5432/crm", environment="CRM_WRITER")
    assert crm.limits == ReadLimits(rows=5000, bytes=8 << 20, seconds=5, cost=100_000)
    assert crm.tables["customers"] == Table({"id": (), "email": ("pii",), "region": ()}, "id", "sales.customer")
    move = crm.statements["move"]
    assert move.sql.startswith("UPDATE sales.customer SET region = :region")
    assert replace(move, sql="") == NamedStatement(
        "",
        owner="ml-platform",
        parameters={"id": "integer", "region": "text"},
        labels=("internal",),
        roles=("support",),
        purposes=("support",),
        cost=10_000_000,
    )
    assert (notes.reader, notes.writer, notes.limits) == (
        DataSource("sqlite:///srv/notes.db"),
        DataSource(),
        ReadLimits(),
    )


def test_a_statement_is_its_dataset_s_unless_it_says_otherwise(written: Callable[..., Path]) -> None:
    """Policy sees the owner of the dataset there."""
    path = written(a=SMALL + "datasets: {d: {owner: cx, statements: {s: {sql: DELETE FROM t}}}}\n")
    assert load([path], {}, {})[1].datasets["d"].statements["s"].owner == "cx"


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///srv/with%20blank.db",
        "postgresql://u@h/db",
        "postgresql://u@[::1]:5433/db?sslmode=disable&connect_timeout=3",
        "postgresql://u@/db?host=/run/postgresql",
    ],
)
def test_a_dataset_s_address_may_be(url: str, written: Callable[..., Path]) -> None:
    """Over TCP, over a Unix socket, or a file."""
    path = written(a=SMALL + f"datasets: {{d: {{url: '{url}'}}}}\n")
    assert load([path], {}, {})[1].datasets["d"].reader.url == url


def test_a_dataset_s_tables_and_columns_are_bounded(written: Callable[..., Path]) -> None:
    """One more than that is refused."""
    columns = ", ".join(f"c{number}: []" for number in range(MAX_COLUMNS + 1))
    tables = ", ".join(f"t{number}: {{}}" for number in range(MAX_TABLES + 1))
    path = written(
        a=SMALL + f"datasets: {{d: {{tables: {{t: {{columns: {{{columns}}}}}}}}}, e: {{tables: {{{tables}}}}}}}"
    )
    told = str(refusal(path))
    assert f"datasets.d.tables.t.columns: found {MAX_COLUMNS + 1} entries; expected at most {MAX_COLUMNS}" in told
    assert f"datasets.e.tables: found {MAX_TABLES + 1} entries; expected at most {MAX_TABLES}" in told


def test_identities_are_read_from_one_value_or_a_list(full: Catalogue) -> None:
    """A second token serves while the first is rotated out; certificates go by any of their names."""
    assert full.agents["support"].identity == Identity(
        token_hashes=(f"sha256:{'b' * 64}", f"sha256:{'c' * 64}"),
        uris=("spiffe://example.org/ns/cx/sa/support",),
        dns=("support.cx.svc", "support.cx.svc.cluster.local"),
        fingerprints=(f"sha256:{'d' * 64}",),
        kubernetes=(ServiceAccount("agents", "support", fresh=True),),
    )
    assert full.people["ana"].identity == Identity(
        token_hashes=(f"sha256:{'a' * 64}",), uris=("spiffe://example.org/people/ana",), oidc=("ana@example.com",)
    )


def test_an_actor_has_what_its_agent_has_unless_it_narrows(full: Catalogue) -> None:
    """An actor's own lists replace the agent's."""
    actor = full.agents["support"].actors["summarise"]
    assert (actor.roles, actor.purposes, actor.clearance) == (("support",), ("support",), ())


def test_the_full_example_is_described_and_priced(full: Catalogue) -> None:
    """What was read serves the decision: region, chain and labels, and an exact price."""
    facts = full.describe(Resource("service", "openai", "chat", "large"), {"team": "cx"})
    assert (facts.region, facts.chain[1].owner, facts.labels) == ("eu", "integrations", ("untrusted",))
    priced = estimate(
        full,
        "openai",
        "large",
        usage={"input_token": 200_001, "output_token": 1500},
        time_ns=20_760 * DAY,
        maxima={},
    )
    # (200001 × 4.10 + 1000 × 9.00 + 500 × 8.20) / 10⁶ USD at 0.92
    exact = Fraction(2_000_01 * 410 + 1000 * 900 + 500 * 820, 10**8) * Fraction(92, 100) * EUR
    assert priced.amount == -(-exact.numerator // exact.denominator)


def test_the_full_example_can_be_written_for_policy(full: Catalogue) -> None:
    """The document is JSON, and holds no hash."""
    assert b"sha256:" not in encode(full.document())


def test_the_full_example_uses_every_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever key any part of a catalogue may have, the full example has it somewhere."""
    present: dict[tuple[str, ...], set[str]] = {}
    close = Section.close

    def closed(section: Section) -> None:
        asked = tuple(section._asked)
        present.setdefault(asked, set()).update(key for key in asked if section.has(key))
        close(section)

    monkeypatch.setattr(Section, "close", closed)
    load([FULL], {}, {})
    missing = {key for asked, used in present.items() for key in asked if key not in used}
    # Alternatives: an OPA has a socket here, and could have a URL instead; the catalogue is in no bundle.
    assert missing == {"url", "bundle"}
    assert len(present) > 20


def test_a_directory_is_one_catalogue(written: Callable[..., Path]) -> None:
    """Sections of several files are merged, lists joined in the order of the files' names."""
    path = written(
        a=SMALL + "prices: [{match: '*/a', unit: call, amount: 1, currency: EUR}]\n",
        b="agents: {x: {team: cx}}\nprices: [{match: '*/b', unit: call, amount: 2, currency: EUR}]\n",
        c="teams: {ml: {}}\nagents: {y: {team: ml, supervisor: x}}\n",
    )
    (path / "notes.txt").write_text("not: a catalogue: at all")
    (path / ".hidden.yaml").write_text("nor: this: one")
    (path / "deeper").mkdir()
    (path / "deeper" / "d.yaml").write_text("nor: this: one")
    _, catalogue = load([path], {}, {})
    assert set(catalogue.teams) == {"cx", "ml"}
    assert catalogue.agents["y"].supervisor == "x"
    assert [price.match for price in catalogue.prices] == ["*/a", "*/b"]


def test_files_and_directories_may_be_mixed(written: Callable[..., Path], tmp_path: Path) -> None:
    """Several paths make one catalogue."""
    path = written(a=SMALL)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "b.yml").write_text("teams: {ml: {}}\n")
    _, catalogue = load([path / "a.yaml", tmp_path / "more"], {}, {})
    assert set(catalogue.teams) == {"cx", "ml"}


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """The path that is not there is named, and no line of it."""
    assert str(refusal(tmp_path / "no.yaml")) == (
        f"{tmp_path}/no.yaml: found no such file or directory; expected a catalogue file, or a directory of them"
    )


def test_no_path_is_told() -> None:
    """Without a path there is no catalogue."""
    assert str(refusal()) == "remit.yaml: found no path; expected a catalogue file, or a directory of them"


def test_a_directory_without_catalogue_is_told(tmp_path: Path) -> None:
    """An empty directory is not an empty catalogue."""
    assert str(refusal(tmp_path)) == f"{tmp_path}: found no *.yaml file; expected a directory of catalogue files"


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    """A file that would never end, or never begin, is refused instead of waited for."""
    os.mkfifo(tmp_path / "remit.yaml")
    assert "not a regular file" in str(refusal(tmp_path / "remit.yaml"))


def test_what_is_not_utf_8_is_told_by_its_place(tmp_path: Path) -> None:
    """The first byte that is no text is named."""
    path = tmp_path / "remit.yaml"
    path.write_bytes("currency: EUR\nteams: {ä: ".encode() + b"\xff}\n")
    assert str(refusal(path)) == f"{path}:2:12: found the byte 0xff; expected text in UTF-8"


def test_a_file_has_at_most_a_mebibyte(tmp_path: Path) -> None:
    """One byte more is refused, at the bound it is read."""
    path = tmp_path / "remit.yaml"
    filler = "#" * (MAX_BYTES - len(SMALL) - 1) + "\n"
    path.write_text(SMALL + filler)
    assert load([path], {}, {})[1].teams
    path.write_text(SMALL + "#" + filler)
    assert str(refusal(path)) == f"{path}: found more than 1048576 bytes; expected at most 1 MiB a file"


def test_a_directory_has_a_bounded_number_of_files(tmp_path: Path) -> None:
    """Too many files are refused."""
    (tmp_path / "a.yaml").write_text(SMALL)
    for number in range(MAX_FILES):
        (tmp_path / f"b{number}.yaml").write_text("budgets: {}\n")
    assert f"found {MAX_FILES + 1} files; expected at most {MAX_FILES}" in str(refusal(tmp_path))


def test_sections_and_lists_are_bounded(tmp_path: Path) -> None:
    """A section, and a list, of more entries than anybody writes is refused as such."""
    path = tmp_path / "remit.yaml"
    teams = "".join(f"  t{number}: {{}}\n" for number in range(4097))
    path.write_text("currency: EUR\nteams:\n" + teams)
    assert "teams: found 4097 entries; expected at most 4096" in str(refusal(path))
    roles = ", ".join(f"r{number}" for number in range(257))
    path.write_text(f"currency: EUR\npeople: {{ana: {{roles: [{roles}]}}}}\n")
    assert "people.ana.roles: found 257 items; expected 0 to 256 items" in str(refusal(path))


def test_only_the_first_mistakes_are_told_and_the_others_counted(tmp_path: Path) -> None:
    """A catalogue that is wrong all over gives a message that a person can still read."""
    path = tmp_path / "remit.yaml"
    path.write_text("currency: EUR\nteams:\n" + "".join(f"  t{number}: 1\n" for number in range(60)))
    refused = refusal(path)
    assert (len(refused.errors), refused.more) == (MAX_PROBLEMS, 10)
    assert str(refused).endswith("\nand 10 more")


def test_a_mistake_is_told_on_one_line_whatever_is_written(tmp_path: Path) -> None:
    """Names of the file's own making cannot break a message, or fill the screen."""
    path = tmp_path / "remit.yaml"
    name = '"a\\n\\e[31m' + "x" * 300 + '"'
    path.write_text(f"currency: EUR\nteams: {{{name}: 1}}\n")
    lines = str(refusal(path)).splitlines()
    assert len(lines) == 2
    assert all(line.isprintable() and len(line) < 600 for line in lines)


LINES = FULL.read_text().splitlines()
SCRAPS = st.sampled_from(["", "{", "}", "[", ":", "- x", "\t", "*a", "&a", "!!x", "'", '"', "null", "1e999", "\x00"])
changed_lines = st.lists(st.tuples(st.integers(0, len(LINES) - 1), st.integers(0, 60), SCRAPS), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changed_lines)
def test_a_damaged_catalogue_is_read_or_refused_with_places(
    tmp_path: Path, changes: list[tuple[int, int, str]]
) -> None:
    """However a good file is damaged, it is read, or refused with mistakes that say where; nothing else is raised."""
    lines = list(LINES)
    for number, column, scrap in changes:
        lines[number] = lines[number][:column] + scrap
    path = tmp_path / "remit.yaml"
    path.write_text("\n".join(lines))
    try:
        load([path], {}, {})
    except CatalogueInvalid as refused:
        assert refused.errors
        assert all(error.line and error.column and error.found and error.expected for error in refused.errors)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_refused_with_a_place(tmp_path: Path, content: bytes) -> None:
    """Bytes that are no catalogue never raise anything else."""
    path = tmp_path / "remit.yaml"
    path.write_bytes(content)
    assert all(error.file == str(path) for error in refusal(path).errors)


def test_the_fingerprint_tells_of_any_change(written: Callable[..., Path]) -> None:
    """It is the same for the same files, and another one for other content, names, or a file more or less."""
    path = written(a=SMALL, b="")
    seen = [fingerprint([path])]
    assert fingerprint([path]) == seen[0]
    (path / "b.yaml").write_text("#")
    seen.append(fingerprint([path]))
    (path / "b.yaml").rename(path / "c.yaml")
    seen.append(fingerprint([path]))
    (path / "c.yaml").unlink()
    seen.append(fingerprint([path]))
    (path / "a.yaml").unlink()
    seen.append(fingerprint([path]))
    assert len(set(seen)) == len(seen)


def test_the_fingerprint_of_what_cannot_be_read_is_one_too(tmp_path: Path) -> None:
    """A watcher is told of a vanished file by another fingerprint, not by an error."""
    path = tmp_path / "remit.yaml"
    missing = fingerprint([path])
    path.write_text("")
    assert fingerprint([path]) != missing
    path.unlink()
    assert fingerprint([path]) == missing


def test_content_cannot_pass_for_another_file(tmp_path: Path) -> None:
    """A file that holds what the fingerprint sees of another is still another fingerprint than both."""
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("x")
    second.write_text("y")
    before = fingerprint([tmp_path])
    second.unlink()
    first.write_text(f"x{second}\0+y")
    assert fingerprint([tmp_path]) != before
