"""Random tests are seeded: the same tree gives the same cases on every machine. And nothing is skipped in CI.

A test that lacks a tool skips and says so. Where HALFPENNY_CI is set, as in `.ci/run`, which installs the tools, a skip
is a failure, so that a test nobody runs is seen. Rights are no tools: a container may not mount a file system, whatever
is installed; a skip whose reason begins with NOT_ALLOWED stays one, and is listed like every skip.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

NOT_ALLOWED = "not allowed here: "

settings.register_profile(
    "house",
    derandomize=True,
    database=None,
    deadline=None,  # two shared cores: a slow example is no wrong example
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("house")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skipped test."""
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A skipped file."""
    report = yield
    _refuse_skip(report)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not report.skipped or hasattr(report, "wasxfail") or not os.environ.get("HALFPENNY_CI"):
        return
    why = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not why.removeprefix("Skipped: ").startswith(NOT_ALLOWED):
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} was skipped, and in CI nothing is: {why}"
