"""A person's SQL over the ledger, in a process of its own that can write nothing, grow little, and be killed.

The parent sends the question and reads rows as they come; at the deadline, or when there are too many, it ends the child,
which is the one thing that stops any query. The child is confined before DuckDB is loaded (reports/confined.py).
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import msgspec

from ledger.errors import InvalidInput, LedgerError, NotAHome
from ledger.home import existing
from ledger.output import exit_code
from reports.errors import QueryFailed

SECONDS = 60.0
ADDRESS_SPACE = 3 << 30  # bytes: DuckDB's memory limit, its libraries, and what it does not count
ANSWER_BYTES = 256 << 20
ASKED_WRONGLY = 2  # the exit code that InvalidInput has
_BATCH = 2000
_LENGTH = 4  # bytes before each part of the answer
_DECIMAL = 1
_WORDS_AT_MOST = 2000


class Question(msgspec.Struct, frozen=True):
    """What the child is asked. Shapes: `as_of` is the moment whose knowledge is asked for, None for now."""

    home: str
    sql: str
    as_of: datetime | None = None


class Part(msgspec.Struct, frozen=True):
    """A part of the answer. Shapes: rows as values in the order of `names`; or why there are none, and the exit code then."""

    names: list[str] = []
    rows: list[list[Any]] = []
    refused: str | None = None
    exit_code: int = 0


def _extension(code: int, data: memoryview) -> object:
    return Decimal(bytes(data).decode()) if code == _DECIMAL else None


_PART = msgspec.msgpack.Decoder(Part, ext_hook=_extension)


def asked(
    home_path: Path, sql: str, as_of: datetime | None = None, *, seconds: float = SECONDS
) -> list[dict[str, Any]]:
    """The rows of one SELECT over the published views, of now or as known at a moment.

    Shapes: values are numbers, Decimals, texts, lists and mappings; moments and days are texts. Units: `seconds` until it is ended.
    Errors: NotAHome; InvalidInput for anything but one SELECT that runs within the limits; QueryFailed with the words of Damage or NotReadable.
    """
    home = existing(home_path)
    if not home.catalog.is_file():
        raise NotAHome(home_path)
    package = str(Path(__file__).resolve().parent.parent)
    search = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    with subprocess.Popen(
        (sys.executable, "-P", "-m", "reports.asking"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": search},
    ) as child:
        late = threading.Event()

        def end() -> None:
            late.set()
            child.kill()

        deadline = threading.Timer(seconds, end)
        deadline.start()
        try:
            assert child.stdin is not None  # noqa: S101 -- they are pipes
            assert child.stdout is not None  # noqa: S101
            child.stdin.write(msgspec.msgpack.encode(Question(str(home.path), sql, as_of)))
            child.stdin.close()
            return list(_rows(child.stdout))
        except EOFError:
            why = f"It took more than {seconds:g} s" if late.is_set() else "It took more memory than a query may"
            raise InvalidInput(
                f"{why} and was ended. Ask for less, or ATTACH ledger.duckdb in a DuckDB of your own (schemas/views.md)."
            ) from None
        finally:
            deadline.cancel()
            child.kill()


def _rows(answer: IO[bytes]) -> Iterator[dict[str, Any]]:
    """Rows until the last part. Errors: EOFError when it breaks off; as `asked`."""
    left = ANSWER_BYTES
    while True:
        size = int.from_bytes(_exactly(answer, _LENGTH))
        left -= size
        if left < 0:
            raise InvalidInput(
                f"The answer is larger than {ANSWER_BYTES >> 20} MiB. Add a LIMIT, or sum up more of it."
            )
        part = _PART.decode(_exactly(answer, size))
        if part.refused is not None:
            raise (
                InvalidInput(part.refused)
                if part.exit_code == ASKED_WRONGLY
                else QueryFailed(part.refused, part.exit_code)
            )
        if not part.names:
            return
        for row in part.rows:
            yield dict(zip(part.names, row, strict=True))


def _exactly(answer: IO[bytes], size: int) -> bytes:
    found = answer.read(size)
    if len(found) < size:
        raise EOFError
    return found


def main() -> None:
    """The child: one question on stdin, its answer on stdout."""
    from reports.confined import confine  # noqa: PLC0415 -- the parent has no use for it

    confine(ADDRESS_SPACE)
    question = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Question)
    from reports import warehouse  # noqa: PLC0415 -- DuckDB's threads must be held too

    try:
        rows = warehouse.asked(Path(question.home), question.sql, question.as_of, spill=False)
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH]
            _say(Part(list(batch[0]), [[_plain(value) for value in row.values()] for row in batch]))
        _say(Part())
    except LedgerError as refused:
        _say(Part(refused=str(refused)[:_WORDS_AT_MOST], exit_code=exit_code(refused)))
    except MemoryError:
        why = "The query needs more memory than it may have. Ask for less."
        _say(Part(refused=why, exit_code=ASKED_WRONGLY))


def _say(part: Part) -> None:
    body = msgspec.msgpack.encode(part)
    sys.stdout.buffer.write(len(body).to_bytes(_LENGTH) + body)
    sys.stdout.buffer.flush()


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | float | str):
        return value
    if isinstance(value, Decimal):
        return msgspec.msgpack.Ext(_DECIMAL, str(value).encode())
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else msgspec.msgpack.Ext(_DECIMAL, str(value).encode())
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    return str(value)


if __name__ == "__main__":
    main()
