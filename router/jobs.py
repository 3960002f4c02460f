"""What the service does now and then, beside answering calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from ledger.errors import WriteFailed
from router.serving import end_at_once

JOBS_AFTER_S = 0.5  # by which the first calls come before what the jobs load
_log = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True)
class Job:
    """Something the service does now and then. Units: `every_s` seconds; the first time is JOBS_AFTER_S after the start."""

    name: str
    every_s: float
    run: Callable[[], Awaitable[None]]


@contextmanager
def scheduled(jobs: Sequence[Job]) -> Iterator[None]:
    """The jobs run while the context is open. A job that fails is logged and runs again at its next time."""
    if not jobs:
        yield
        return
    from apscheduler.schedulers.asyncio import AsyncIOScheduler  # noqa: PLC0415 (serving starts faster without it)

    scheduler = AsyncIOScheduler(timezone=UTC)
    for job in jobs:
        scheduler.add_job(
            _guarded_job(job),
            "interval",
            seconds=job.every_s,
            id=job.name,
            next_run_time=datetime.now(UTC),
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
        )
    scheduler.start()
    try:
        yield
    finally:
        scheduler.shutdown(wait=False)


def _guarded_job(job: Job) -> Callable[[], Awaitable[None]]:
    async def run_job() -> None:
        try:
            await job.run()
        except WriteFailed as failed:
            end_at_once(failed)
        except Exception as broke:
            # It is tried again at its next time; a job's mistake must not stop calls.
            _log.error("job_failed", job=job.name, error=type(broke).__name__, said=str(broke))

    return run_job
