"""Says when a budget has reached a share of its cap, hard or soft: one event for each period, threshold and cap.

What counts is settled and orphaned money, not holds, which are larger than what calls come to and pass again. A soft cap
refuses nothing, so its warning at the whole of it is all it does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from decimal import Decimal

import structlog

from ledger.alarms import warning_of
from ledger.budgets import Account
from ledger.events import BudgetWarned, CallSettled, Event, Scope
from ledger.money import text
from ledger.projections import State

_log = structlog.stdlib.get_logger()


class BudgetWatch:
    """Looks at the accounts of a call once it is settled. Units: `thresholds` are shares of the cap. `tell` gets each warning
    and what to await for it to be durable.
    """

    def __init__(
        self,
        state: State,
        thresholds: tuple[float, ...],
        *,
        submit: Callable[[Event], Awaitable[None]],
        new_id: Callable[[], str],
        tell: Callable[[BudgetWarned, Awaitable[None]], None] = lambda *_: None,
    ) -> None:
        self._state, self._submit, self._new_id, self._tell = state, submit, new_id, tell
        self._thresholds = tuple((threshold, Decimal(str(threshold))) for threshold in sorted(thresholds))

    def look(self, settled: CallSettled) -> None:
        """Warn about what this call's cost has reached. The event is durable no later than the next one is."""
        scopes: tuple[tuple[Scope, str | None], ...] = (
            ("whole", ""),
            ("client", settled.client_id),
            ("key", settled.key_id),
        )
        for scope, scope_id in scopes:
            if scope_id is not None and (scope, scope_id) in self._state.caps:
                zone = self._state.client(settled.client_id or "").zone
                account = self._state.account(scope, scope_id, settled.period, zone)
                self._warn(scope, scope_id, account, settled)

    def _warn(self, scope: Scope, scope_id: str, account: Account, settled: CallSettled) -> None:
        if not account.cap:
            return
        spent = account.settled + account.orphaned
        for threshold, share in self._thresholds:
            if spent < account.cap * share:
                return
            event = self._event(scope, scope_id, account, threshold, settled.client_id, settled.time)
            if warning_of(event) not in self._state.warned:
                self._tell(event, self._submit(event))
                _log.warning("budget", scope=scope, scope_id=scope_id, period=account.period, threshold=threshold)

    def _event(
        self,
        scope: Scope,
        scope_id: str,
        account: Account,
        threshold: float,
        client_id: str | None,
        moment: datetime,
    ) -> BudgetWarned:
        return BudgetWarned(
            id=self._new_id(),
            subject=scope_id or "whole",
            time=moment,
            client_id=None if scope == "whole" else client_id,
            scope=scope,
            period=account.period,
            threshold=threshold,
            hard=account.hard,
            cap_usd=text(account.cap or Decimal(0)),
            settled_usd=text(account.settled),
            held_usd=text(account.held),
            orphaned_usd=text(account.orphaned),
        )
