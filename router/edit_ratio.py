"""How much of a draft a human changed: the normalised Levenshtein distance over characters.

Two ordinary drafts take microseconds. Texts of hundreds of thousands of characters take seconds and the library
keeps the interpreter's lock meanwhile, so those are measured in a child process, which can also be killed.
"""

from __future__ import annotations

import asyncio
import sys

import msgspec

# Characters of one text times characters of the other: 10,000 by 10,000 takes about 5 ms.
CELLS_IN_PROCESS = 10**8
# 400,000 by 400,000; about five seconds.
CELLS_AT_MOST = 16 * 10**10
CHILD_S = 30.0


class TooLong(ValueError):
    """Two texts that are too long to compare."""


def ratio(draft: str, final: str) -> float:
    """The share of characters changed: 0 unchanged, 1 nothing kept. Units: share 0..1, six decimals."""
    from rapidfuzz.distance import Levenshtein  # noqa: PLC0415 (serving starts faster without it)

    return round(Levenshtein.normalized_distance(draft, final), 6)


def cells_to_compare(draft: str, final: str) -> int:
    """Characters times characters once the common beginning and end are off, which is what comparing costs.

    Most edits change a passage and leave the rest, so a long draft is still compared in microseconds.
    """
    start = _common(draft, final)
    draft, final = draft[start:], final[start:]
    end = _common(draft[::-1], final[::-1])
    return (len(draft) - end) * (len(final) - end)


def _common(one: str, other: str) -> int:
    """How many characters two texts share from their start, by halving: comparing slices is a memory compare."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


async def edit_ratio(draft: str, final: str) -> float:
    """The same without holding up the loop.

    Errors: TooLong when it would take too long, or did.
    """
    cells = cells_to_compare(draft, final)
    if cells <= CELLS_IN_PROCESS:
        return ratio(draft, final)
    if cells > CELLS_AT_MOST:
        raise TooLong(f"{len(draft)} by {len(final)} characters are too many to compare")
    # -I keeps the child from reading anything but the installed packages; this file is run by its path.
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-I", __file__, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(CHILD_S):
            said, _ = await child.communicate(msgspec.json.encode((draft, final)))
    except TimeoutError:
        raise TooLong(f"comparing took longer than {CHILD_S:.0f} s") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    return float(said)


def main() -> None:
    """Read two texts as JSON on stdin, write their ratio."""
    draft, final = msgspec.json.decode(sys.stdin.buffer.read(), type=tuple[str, str])
    sys.stdout.write(f"{ratio(draft, final):.6f}")


if __name__ == "__main__":
    main()
