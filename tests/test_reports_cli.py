"""The room's own door: data on stdout, the rest on stderr, an exit code for each kind of trouble."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reports.cli import main
from tests.made_home import MEDIUM, Book, write_home


@pytest.fixture
def home(tmp_path: Path) -> Path:
    b = Book()
    b.client()
    b.baseline()
    b.call("generation", MEDIUM, datetime(2025, 10, 3, 10, tzinfo=UTC), (1000, 100), ticket_id="T-1", arm="standard")
    return write_home(tmp_path / "home", b.events)


def test_build_prints_the_paths_for_a_machine(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "acme", "2025-10", "--home", str(home), "--format", "json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert (found["client_id"], found["revision"], found["status"], found["is_new"]) == ("acme", 1, "draft", True)
    assert all(Path(path).is_file() for path in found["paths"].values())


def test_build_prints_one_path_a_line_for_people(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build", "acme", "2025-10", "--home", str(home), "-o", str(tmp_path / "out")]) == 0

    said = capsys.readouterr()
    assert [Path(line).name for line in said.out.splitlines()][:2] == ["report.json", "report.html"]
    assert said.err.startswith("Your support desk answered 1 ticket")
    assert (tmp_path / "out" / "report.pdf").is_file()


@pytest.mark.parametrize(
    ("asked", "code", "words"),
    [(("nobody", "2025-10"), 1, "There is no client 'nobody'"), (("acme", "October"), 2, "is not a month")],
)
def test_trouble_is_one_sentence_and_a_code(
    asked: tuple[str, str], code: int, words: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build", *asked, "--home", str(home)]) == code

    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err


def test_no_home_is_exit_5(tmp_path: Path) -> None:
    assert main(["build", "acme", "2025-10", "--home", str(tmp_path)]) == 5
