"""What a writer needs done beside its appends: the next file, a seal, the views, a merge, the sweeping.

`work` brings about one command; it may die anywhere and be asked again, since each step leaves a whole home.
Its tools are values, so that a model of a disk, with a cheap form of segments and views, runs the same steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ledger import catalog, collection, recovery, segments, tail
from ledger import manifest as manifests
from ledger.catalog import Publish
from ledger.disk import REAL, Disk
from ledger.errors import LedgerError
from ledger.home import Home
from ledger.manifest import Manifest
from ledger.scrub import SERVICE_BYTES, Scrub, all_damaged
from ledger.sealer import Answer, Command
from ledger.segments import PARQUET, Form, OnSealed


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What the work is done with. Shapes: one value for the life of a writer, since `scrub` remembers."""

    disk: Disk = REAL
    form: Form = PARQUET
    publish: Publish = catalog.publish
    on_sealed: OnSealed | None = None
    scrub: Scrub = field(default_factory=lambda: Scrub(SERVICE_BYTES))


def work(home: Home, command: Command, tools: Tools, *, now: datetime) -> Answer:
    """Carry out one command. Errors: none that the work can meet; they are the answer's trouble."""
    disk, form = tools.disk, tools.form
    trouble: str | None = None
    made: int | None = None
    prepared: int | None = None
    manifest, is_dropping = manifests.load(home, disk), False
    refusals = (LedgerError, OSError)
    try:
        if command.prepare is not None:
            recovery.new_file(home, disk, command.prepare)
            made = command.prepare
        manifest = segments.seal(home, command.seal_up_to, now=now, disk=disk, form=form, on_sealed=tools.on_sealed)
        if is_dropping := home.wanted.name in disk.list(home.path):
            from ledger import dropping  # noqa: PLC0415 - once in months

            manifest = dropping.carry_out(home, manifest, now=now, disk=disk, form=form)
    except refusals as refused:
        trouble = str(refused)
        manifest = manifests.load(home, disk)
    try:
        # Also after a seal that failed: the next file must be listed before an event goes into it.
        out = _published(home, manifest, tools, now=now)
        prepared = made  # and not what is merely seen: a name whose sync failed goes with the power
        if out:
            trouble = trouble or f"{', '.join(out)} is damaged and left out of the views"
        # Neighbours are not merged across the end of a drop that is under way.
        if trouble is None and command.prepare is None and not is_dropping:
            merged = segments.compact(home, now=now, disk=disk, form=form)
            if merged.generation != manifest.generation:
                manifest = merged
                _published(home, manifest, tools, now=now)
        manifest = collection.collect(home, now=now, grace=timedelta(seconds=command.grace_seconds), disk=disk)
    except refusals as refused:
        trouble = trouble or str(refused)
    return Answer(
        generation=manifest.generation,
        sealed_up_to=manifest.sealed_up_to,
        prepared=prepared,
        waiting=len(manifest.replaced),
        trouble=trouble,
    )


def _published(home: Home, manifest: Manifest, tools: Tools, *, now: datetime) -> tuple[str, ...]:
    """Publish the views, without the segments that are damaged; which those are."""
    found = tail.tail_numbers(home, tools.disk, manifest)
    out = tools.scrub.damaged(home, tools.disk, manifest, now=now)
    try:
        tools.publish(home, manifest, found, now=now, damaged=out, disk=tools.disk)
    except LedgerError:
        # One that DuckDB cannot open and whose turn it was not; which one, only the sums say.
        worse = all_damaged(home, tools.disk, manifest)
        if worse == out:
            raise
        out = worse
        tools.publish(home, manifest, found, now=now, damaged=out, disk=tools.disk)
    return out
