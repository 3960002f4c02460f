"""A skip is told on a user's machine and is a failure in CI, where the tools are installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import ROOT

SKIPPING = """
import pytest
from tests.conftest import NOT_ALLOWED

def test_good(): pass
def test_lacks(): pytest.skip("redis-server is not installed")
@pytest.mark.skipif(True, reason="strace is not installed")
def test_marked(): pass
def test_may_not(): pytest.skip(NOT_ALLOWED + "mounting")
@pytest.mark.xfail(strict=True)
def test_known(): assert False
"""
SKIPPED_FILE = 'import pytest\npytest.importorskip("nothing_of_this_name")\n'


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Tests under the house's own conftest: two that lack a tool, one that lacks a right, one file that lacks a library."""
    (tmp_path / "conftest.py").write_text("from tests.conftest import *")
    (tmp_path / "test_a.py").write_text(SKIPPING)
    (tmp_path / "test_b.py").write_text(SKIPPED_FILE)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -q -rsf -p no:cacheprovider\n")
    return tmp_path


def run(tree: Path, *files: str, ci: str) -> tuple[int, str]:
    """Exit code and output."""
    environment = os.environ | {"HALFPENNY_CI": ci, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", *files]
    said = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    return said.returncode, said.stdout


def test_on_a_users_machine_every_skip_is_listed_with_its_reason(tree: Path) -> None:
    code, said = run(tree, ci="")

    assert code == 0, said
    assert "1 passed, 4 skipped, 1 xfailed" in said
    for reason in ("redis-server is not installed", "strace is not installed", "nothing_of_this_name", "mounting"):
        assert reason in said


def test_in_ci_a_test_skipped_for_want_of_a_tool_fails_by_name(tree: Path) -> None:
    code, said = run(tree, "test_a.py", ci="1")

    assert code == 1
    assert "1 failed, 1 passed, 1 skipped, 1 xfailed, 1 error" in said  # a marked one is skipped before it begins
    assert "test_a.py::test_lacks was skipped, and in CI nothing is: Skipped: redis-server is not installed" in said


def test_in_ci_a_file_skipped_as_a_whole_fails_too(tree: Path) -> None:
    code, said = run(tree, "test_b.py", ci="1")

    assert code != 0
    assert "test_b.py was skipped, and in CI nothing is" in said
