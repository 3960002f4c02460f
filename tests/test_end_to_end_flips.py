"""No changed byte of a home gives another answer; 50,000 changes in `make drill-ledger`."""

from __future__ import annotations

import os
from pathlib import Path

from tests.home_flips import run


def test_a_changed_file_is_a_named_error_or_the_same_answer_for_folds_and_query(tmp_path: Path) -> None:
    counts = run(tmp_path, int(os.environ.get("HALFPENNY_FLIPS", "60")), seed=3)

    assert counts["flip"] > 20
    assert counts["folds: named"] > 10
    assert counts["query: named"] > 10
