"""The table of attacks in router/README.md names tests that exist; and the two rows that are about the tree itself."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("ledger", "router", "reports", "schemas")
UNSAFE_MODULES = {"pickle", "marshal", "shelve", "yaml", "dill", "cloudpickle"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__"}


def rows() -> dict[str, str]:
    """The last column of the table by its first."""
    text = (ROOT / "router" / "README.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| (S\d+) \|[^|]*\|(.*)\|$", text, re.MULTILINE))


def test_every_row_of_the_matrix_is_in_the_table_and_names_tests_that_exist() -> None:
    told = rows()
    known = {
        name
        for path in (ROOT / "tests").glob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }

    assert list(told) == [f"S{number}" for number in range(1, 23)]
    for number, held in told.items():
        named = re.findall(r"`(test_\w+)`", held)
        assert named, number
        assert set(named) <= known, (number, set(named) - known)


def test_the_lock_names_a_hash_for_everything_and_no_index() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=\S)", lock.strip())

    assert len(entries) > 30
    for entry in entries:
        assert re.match(r"[A-Za-z0-9_.-]+==\S+", entry), entry.splitlines()[0]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry.splitlines()[0]
    assert "://" not in lock
    assert "--require-hashes" in (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "path", [p for room in ROOMS for p in sorted((ROOT / room).glob("*.py"))], ids=lambda p: p.stem
)
def test_nothing_runs_or_unpickles_what_it_reads(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            is_ours = (path.name, node.func.id) == ("acceptance.py", "exec")  # source made of our own classes alone
            assert is_ours or node.func.id not in UNSAFE_CALLS, f"{path.name}:{node.lineno}"
        if isinstance(node, ast.Import):
            assert not {one.name.partition(".")[0] for one in node.names} & UNSAFE_MODULES, f"{path.name}:{node.lineno}"
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").partition(".")[0] not in UNSAFE_MODULES, f"{path.name}:{node.lineno}"
