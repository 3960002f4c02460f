"""Recorded arrivals as months of five-minute counts: 55 days each, 25 that a policy learns from and 30 that it is asked about.

`months` gives other months out of the benchmark's recordings, not strangers to it: the development series' own end as history and their
beginning as the month, sums of two companies shifted against each other, and taxi rides by half hours, which are quiet days with
holidays in them. Read from ../shared/data/routing, found beside the repository.
"""

from __future__ import annotations

import csv
import gzip
from itertools import combinations
from pathlib import Path

SLOTS = 288
DAYS = 55
LOG_DAYS = 25
WEEK = 7
Days = list[list[float]]  # one row of SLOTS counts a day


def months(data: Path) -> dict[str, Days]:
    """Eighteen series by name: five turned by four weeks, ten pairs of them turned by three and by five, three of taxis."""
    companies = _twitter(data)
    found = {f"{name} turned": _turned(days, 4 * WEEK) for name, days in companies.items()}
    for one, other in combinations(companies, 2):
        left, right = _turned(companies[one], 3 * WEEK), _turned(companies[other], 5 * WEEK)
        found[f"{one}+{other}"] = _sum(_scaled(left), _scaled(right))
    found |= _taxis(data)
    return found


def _twitter(data: Path) -> dict[str, Days]:
    with gzip.open(data / "arrivals_nab_twitter_5min.csv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[: DAYS * SLOTS]
    names = [column for column in rows[0] if column.startswith("mentions_")]
    return {name.removeprefix("mentions_"): _by_day([float(row[name] or 0) for row in rows]) for name in names}


def _taxis(data: Path) -> dict[str, Days]:
    """Rides are counted by the half hour: spread over six slots, one in a thousand, so that counts stay small."""
    with gzip.open(data / "arrivals_nyc_taxi_30min.csv.gz", "rt", encoding="utf-8", newline="") as file:
        rides = [float(row["passengers"]) for row in csv.DictReader(file)]
    slots = [count / 6000.0 for count in rides for _ in range(6)]
    days = _by_day(slots)
    return {f"taxi {k + 1}": days[k * DAYS : (k + 1) * DAYS] for k in range(len(days) // DAYS)}


def _by_day(slots: list[float]) -> Days:
    """Whole days; bursts clipped at the 99.95 % slot, as the benchmark does."""
    most = sorted(slots)[int(len(slots) * 0.9995) - 1]
    clipped = [min(count, most) for count in slots]
    return [clipped[k : k + SLOTS] for k in range(0, len(clipped) - SLOTS + 1, SLOTS)]


def _turned(days: Days, by: int) -> Days:
    return days[by:] + days[:by]


def _scaled(days: Days) -> Days:
    mean = sum(map(sum, days)) / len(days)
    return [[count / mean for count in day] for day in days]


def _sum(left: Days, right: Days) -> Days:
    return [[a + b for a, b in zip(one, other, strict=True)] for one, other in zip(left, right, strict=True)]
