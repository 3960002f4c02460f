"""`halfpenny query`: one SELECT over the views, and nothing beside them."""

from pathlib import Path

import pytest

from ledger.errors import InvalidInput
from reports.warehouse import asked
from router.cli import make_home
from router.config import default_text


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh home: eight listed prices and a baseline."""
    return make_home(tmp_path_factory.mktemp("asked") / "home", default_text()).path


def test_a_select_sees_every_event_recorded(home: Path) -> None:
    assert asked(home, "SELECT count(*) AS n FROM events") == [{"n": 9}]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM glob('/etc/*')",
        "COPY (SELECT 1) TO 'out.csv'",
        "SELECT 1; SELECT 2",
        "CREATE TABLE t AS SELECT 1",
        "SET memory_limit = '8GB'",
        "SELECT nothing FROM nowhere",
    ],
)
def test_anything_but_one_select_over_the_views_is_refused(home: Path, sql: str) -> None:
    with pytest.raises(InvalidInput):
        asked(home, sql)
