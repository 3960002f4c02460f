"""Every drill of the gateway with small counts; `make drill-gateway` runs them in full."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.gateway_drills import FULL, QUICK, Drill

SEED = 7


@pytest.mark.parametrize(("name", "drill"), QUICK, ids=[name for name, _ in QUICK])
def test_the_gateway_is_as_promised(tmp_path: Path, name: str, drill: Drill) -> None:
    row = drill(tmp_path, SEED)

    # How fast it is beside other tests says nothing; that calls beyond the limit are refused does.
    assert [sentence for sentence in row.wrong if name != "overload" or "refused" in sentence] == []
    assert row.found


def test_every_full_drill_has_a_quick_one() -> None:
    assert dict(FULL).keys() == dict(QUICK).keys()


def test_every_test_that_the_rows_name_is_there() -> None:
    tests = Path(__file__).parent
    rows = re.findall(r"`(test_\w+\.py|…)::(test_\w+)`", (tests.parent / "router" / "README.md").read_text())
    file, missing = "", []
    for said, name in rows:
        file = file if said == "…" else said
        if f"def {name}(" not in (tests / file).read_text():
            missing.append(f"{file}::{name}")

    assert rows
    assert missing == []
