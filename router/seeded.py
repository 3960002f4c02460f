"""Draws that depend on names, not on order.

A simulated world is asked by many clients at once, so a generator that hands out its numbers in turn would give each
run another result. Here every draw is a hash of what it is for: the same seed and the same names give the same number,
whoever asks, however often and in whatever order.
"""

import hashlib
import math
from statistics import NormalDist

_NORMAL = NormalDist()
# Two to the minus 64; the half keeps a draw away from 0 and 1, where the normal quantile is infinite.
_SCALE = 2.0**-64


def digest(*parts: object) -> bytes:
    """64 bytes, eight draws' worth, for these names.

    Shapes: parts are joined as text with an unused separator, so ("a", "bc") and ("ab", "c") differ.
    """
    return hashlib.blake2b("\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")).digest()


def unit(*parts: object) -> float:
    """One draw, uniform over the open interval (0, 1), for these names."""
    return slot(digest(*parts), 0)


def slot(material: bytes, index: int) -> float:
    """The draw number index (0..7) out of a digest, uniform over (0, 1).

    Cheaper than one hash a draw where a single thing needs several.
    """
    number = int.from_bytes(material[8 * index : 8 * index + 8], "big")
    # A double near one would round up to one itself; eleven bits fewer keep the interval open.
    return ((number >> 11) + 0.5) * 2048 * _SCALE


def lognormal(draw: float, *, median: float, sigma: float) -> float:
    """The lognormal value at a uniform draw; sigma is the spread of the logarithm."""
    return median * math.exp(sigma * _NORMAL.inv_cdf(draw))


def lognormal_with_mean(draw: float, *, mean: float, sigma: float) -> float:
    """The same, given the mean: the median of a lognormal lies below it by exp(sigma squared / 2)."""
    return lognormal(draw, median=mean * math.exp(-sigma * sigma / 2), sigma=sigma)


def pick(draw: float, count: int) -> int:
    """An index 0..count-1 from a uniform draw."""
    return min(int(draw * count), count - 1)
