"""Events a second that deltalake or pyiceberg commit one by one to a table on the local disk. Started by bench.appends.

The event comes as its journal line on standard input; the row is made once, before the clock starts. Neither calls fsync for
its data: what they acknowledge is not durable, and is measured all the same.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.json


def _deltalake(directory: Path, row: pyarrow.Table) -> Callable[[], object]:
    from deltalake import DeltaTable, write_deltalake  # noqa: PLC0415

    write_deltalake(str(directory), row)
    table = DeltaTable(str(directory))
    return lambda: write_deltalake(table, row, mode="append")


def _pyiceberg(directory: Path, row: pyarrow.Table) -> Callable[[], object]:
    from pyiceberg.catalog.sql import SqlCatalog  # noqa: PLC0415

    directory.mkdir()
    catalog = SqlCatalog("local", uri=f"sqlite:///{directory}/catalog.db", warehouse=f"file://{directory}")
    catalog.create_namespace("ledger")
    table = catalog.create_table("ledger.events", schema=row.schema)
    return lambda: table.append(row)


ENGINES = {"deltalake": _deltalake, "pyiceberg": _pyiceberg}

if __name__ == "__main__":
    name, directory, seconds = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
    append = ENGINES[name](directory, pyarrow.json.read_json(pyarrow.BufferReader(sys.stdin.buffer.read())))
    append()
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        append()
        count += 1
    print(count / (time.perf_counter() - started))
