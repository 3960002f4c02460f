"""The documents against the code: every command, setting, event and view is named, every name exists, and examples run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import duckdb
import msgspec
import pytest
import typer

import halfpenny as front_door
from ledger import events as e
from ledger.catalog import view_texts
from ledger.journal import Limits
from reports.settings import Settings
from router.config import Config, Journal, default_text, keys_of, read
from router.simulator_config import FAULTS
from tests.running import ROOT, commanded

README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("[lrs]*/README.md")])
}
EVERYTHING = "\n".join(DOCUMENTS.values())
FILE_ENDINGS = (".py", ".md", ".sql", ".toml", ".json", ".html", ".pdf", ".csv", ".xlsx")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command by its words."""
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from leaves(inner, (*path, name))
    else:
        yield path


COMMANDS = {" ".join(words) for words in leaves(typer.main.get_command(front_door.app))}
GROUPS = {name.split(" ")[0] for name in COMMANDS if " " in name}


def settings() -> set[str]:
    """Every setting as section.key."""
    of_reports = {f"reports.{name}" for name in Settings.__struct_fields__}
    return of_reports | {
        f"{section.name}.{key}"
        for section in msgspec.structs.fields(Config)
        if section.name != "reports"
        for key, _ in keys_of(section.name, {})
    }


def test_every_command_is_in_the_readme() -> None:
    assert {name for name in COMMANDS if f"halfpenny {name}" not in README} == set()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_a_document_names_exists(name: str) -> None:
    spoken = re.findall(r"(?:`|\n|… )halfpenny ([a-z]+)(?: ([a-z]+))?", DOCUMENTS[name])

    named = [f"{first} {second}".strip() if first in GROUPS else first for first, second in spoken]
    assert {command for command in named if command not in COMMANDS | GROUPS} == set()


def test_every_setting_is_in_the_readmes_table_and_every_row_is_a_setting() -> None:
    rows = [line for line in README.splitlines() if line.startswith("| `") and line.count("|") == 4]
    sections = {field.name for field in msgspec.structs.fields(Config)}
    named = {
        name
        for row in rows
        for name in re.findall(r"`([a-z_]+\.[a-z_]+)`", row.split("|")[1])
        if name.partition(".")[0] in sections
    }

    assert named == settings()


def test_defaults_in_the_readme_are_the_codes() -> None:
    config = Config()

    said = {
        "server.host": config.server.host,
        "server.port": config.server.port,
        "provider.base_url": config.provider.base_url,
        "provider.key_env": config.provider.key_env,
        "policy.name": config.policy.name,
        "output_tokens.default": config.output_tokens.default,
        "journal.rotate_events": config.journal.rotate_events,
    }
    for name, value in said.items():
        (row,) = (line for line in README.splitlines() if re.match(rf"\| [^|]*`{re.escape(name)}`", line))
        assert str(value) in row.split("|")[2], name


def test_a_journal_turns_over_by_default_as_the_ledger_itself_does() -> None:
    assert (Journal().rotate_events, Journal().rotate_seconds) == (Limits().events, Limits().seconds)


def test_the_file_that_init_writes_says_the_defaults() -> None:
    assert read(default_text(), {}) == Config()


def test_every_event_has_a_schema_and_every_schema_an_event() -> None:
    written = {path.name.removesuffix(".json") for path in (ROOT / "schemas" / "events").glob("*.json")}

    def below(kind: type[e.Event]) -> Iterator[type[e.Event]]:
        for inner in kind.__subclasses__():
            yield inner
            yield from below(inner)

    made = {str(kind.__struct_config__.tag).removeprefix("halfpenny.") for kind in below(e.Event)}
    assert {name for name in made if name.count(".") == 2} == written


def test_every_event_a_document_names_exists() -> None:
    written = {path.name.rsplit(".", 2)[0] for path in (ROOT / "schemas" / "events").glob("*.json")}
    subjects = {name.partition(".")[0] for name in written}

    named = {name for name in re.findall(r"`([a-z]+\.[a-z]+)`", EVERYTHING) if name.partition(".")[0] in subjects}
    assert {name for name in named - written - settings() if not name.endswith(FILE_ENDINGS)} == set()


def test_every_view_is_in_the_readme_and_in_the_dictionary() -> None:
    views = {"events", *(name.split("_", 1)[1].removesuffix(".sql") for name, _ in view_texts())}
    (line,) = re.findall(r"Views: `([^`]*)`", README)
    dictionary = (ROOT / "schemas" / "views.md").read_text(encoding="utf-8")

    assert set(line.split(", ")) == views
    assert set(re.findall(r"^## (\w+)$", dictionary, re.MULTILINE)) | {"events"} == views


def test_every_fault_of_the_simulator_is_explained_where_it_lives() -> None:
    source = (ROOT / "router" / "simulator.py").read_text(encoding="utf-8")

    assert {name for name in FAULTS if f"    {name} " not in source} == set()
    assert get_args(e.Purpose)


def test_every_make_target_a_document_names_exists() -> None:
    targets = set(
        re.findall(r"^([a-z-]+(?: [a-z-]+)*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    known = {name for line in targets for name in line.split()}

    assert {name for name in re.findall(r"`make ([a-z-]+)", EVERYTHING) if name not in known} == set()


def test_every_file_a_document_links_to_is_there() -> None:
    for name, text in DOCUMENTS.items():
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (ROOT / Path(name).parent / target).exists(), f"{name} links to {target}"


def test_the_readmes_own_month_runs(tmp_path: Path) -> None:
    (block,) = (body for _, body in BLOCKS if "halfpenny init --home H" in body)
    lines = [shlex.split(line, comments=True) for line in block.splitlines() if line.startswith("halfpenny ")]
    home = str(tmp_path / "H")

    for words in lines:
        said = commanded(*(home if word == "H" else word for word in words[1:]))
        assert said.code == 0, f"{' '.join(words)}: {said.err}"
        if words[1:3] == ["key", "issue"]:
            assert re.fullmatch(r"hp_\S+\n", said.out)
    assert [words[1] for words in lines] == ["init", "client", "budget", "key"]


def test_the_readmes_sql_runs(tmp_path: Path) -> None:
    (block,) = (body for kind, body in BLOCKS if kind == "sql")
    home = tmp_path / "H"
    assert commanded("init", "--home", str(home)).code == 0

    with duckdb.connect(":memory:") as connection:
        for statement in connection.extract_statements(block.replace("'H/", f"'{home}/")):
            connection.execute(statement).fetchall()
