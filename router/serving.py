"""The whole process of `halfpenny serve`: home, ledger, loop, port, signals.

A start is mostly loading code, here and in the sealing child, whose first publish has to be waited for. So the ledger
is opened in a thread, with nothing loaded but what that takes, while this one loads the web's part of the room. A
ledger that cannot write ends the process at once, since nothing may be acknowledged any more.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from ledger.errors import WriteFailed
from ledger.home import Home
from ledger.journal import Limits
from ledger.store import Ledger
from ledger.writer import now_utc
from router import standing_home
from router.config import Config, terms_of
from router.standing import Standings, refuse_troubled
from router.standing_home import Follower

if TYPE_CHECKING:
    from ledger.sealer import Ahead
    from router.doors import Route
    from router.jobs import Job

EXIT_FAILED = 1
GARBAGE = 20_000  # new objects, some 3 MB, before the collector looks: with Python's 700 it took a twentieth of a call


def run(
    home: Home,
    config: Config,
    environment: Mapping[str, str],
    *,
    ahead: Ahead,
    more: Callable[[Ledger], Sequence[Route]] = lambda _: (),
    jobs: Callable[[Ledger], Sequence[Job]] = lambda _: (),
) -> int:
    """Serve until told to stop; prints its URL on stderr once it answers.

    Shapes: `ahead` is the home's lock with its sealing child, begun already; `more` and `jobs` are what other rooms add,
    made over the open ledger. Returns the exit code.
    Errors: HomeError (in use, not writable, open to others, address taken), Damage; nothing was served.
    """
    pepper, admin_token = home.pepper(), home.admin_token()
    terms = terms_of(config)
    kept = standing_home.load(home, terms)
    standings = kept or Standings(terms)
    follower = Follower(standings)
    with ThreadPoolExecutor(1) as opener:
        opening = opener.submit(_opened, home, config, follower, ahead)
        from router import app  # noqa: PLC0415 - while the ledger opens
        from router.drafts import drafts_of  # noqa: PLC0415
        from router.logs import log_as_json  # noqa: PLC0415
        from router.telling import Teller  # noqa: PLC0415

        log_as_json(config.server.log_level)
        ledger = opening.result()
    try:
        refuse_troubled(standings)
        if kept is None:
            standing_home.store(home, standings)  # under these terms the sealing process goes on from it
        service = app.build(
            ledger,
            config,
            standings=standings,
            pepper=pepper,
            admin_token=admin_token,
            provider_key=environment.get(config.provider.key_env),
            on_fatal=end_at_once,
            seal=lambda: _seal(ledger),
            content=home.content,
            environment=environment,
            more=more(ledger),
            texts=drafts_of(home, config),
        )

        watch = Teller(standings, ledger.submit, app.new_id, ring=service.hook.tell)

        def on_ready(url: str) -> None:
            # An event is told of only once it is folded, so what follows from it comes in the loop's next round.
            loop = asyncio.get_running_loop()
            watch.start()
            follower.after = lambda event: loop.call_soon(watch.look) if watch.note(event) else None
            ledger.announce(url)
            print(f"Halfpenny listens on {url}", file=sys.stderr, flush=True)
            warn_of_root(os.geteuid())

        # What was loaded to start stays to the end; the collector need not walk over it again and again.
        gc.freeze()
        gc.set_threshold(GARBAGE, 50, 50)
        gc.enable()
        with asyncio.Runner(loop_factory=app.loop_factory()) as runner:
            runner.run(app.serve(service, config, on_ready=on_ready, jobs=lambda: jobs(ledger)))
    finally:
        ledger.close()
    return 0


def warn_of_root(user: int) -> None:
    """A line of the log where the service runs as root; no refusal, since in a container it often has to."""
    if user == 0:
        import structlog  # noqa: PLC0415 - it is loaded by now

        todo = "It needs no right of root: run it as a user of its own, who owns the home."
        structlog.stdlib.get_logger().warning("runs_as_root", todo=todo)


def end_at_once(failed: WriteFailed) -> None:
    """End the process: an event is not durable, so nothing more may be acknowledged, not even an orderly goodbye."""
    print(failed, file=sys.stderr, flush=True)
    os._exit(EXIT_FAILED)


def _opened(home: Home, config: Config, follower: Follower, ahead: Ahead) -> Ledger:
    def on_trouble(why: str) -> None:
        import structlog  # noqa: PLC0415 - it may come while this is loading

        from router.logs import log_as_json  # noqa: PLC0415

        log_as_json(config.server.log_level)
        structlog.stdlib.get_logger().error("not_sealed", why=why)

    return Ledger.open(
        home.path,
        clock=now_utc,
        ahead=ahead,
        limits=Limits(events=config.journal.rotate_events, seconds=config.journal.rotate_seconds),
        on_failure=end_at_once,
        on_trouble=on_trouble,
        folds=(follower,),
    )


async def _seal(ledger: Ledger) -> int:
    """Seal in a thread, since it waits for a child process; returns up to which sequence."""
    position = ledger.state.position
    await asyncio.to_thread(ledger.seal)
    return position
