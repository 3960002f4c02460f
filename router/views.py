"""What the router sees now, as JSON: budget, split, quality, models, and whether the service is well.

Everything is read from the ledger's state, so a figure here and the one a decision saw are the same. A client sees
its own part; an admin sees all. Money is text, shares are numbers, what is not known is null.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime

import msgspec
from aiohttp import web

from ledger.budgets import WHOLE, Account, period_named, period_of
from ledger.errors import UnpricedModel
from ledger.money import text
from ledger.prices import Price
from ledger.projections import State
from ledger.windows import EditWindow, LatencyWindow
from router import standing_views
from router.chat_request import AUTO
from router.config import Config
from router.doors import Visit, answer
from router.errors import NotYours, Overloaded
from router.standing import Standing, Standings

_encode = msgspec.json.encode
P50, P95 = 0.5, 0.95


class Views:
    """Handlers over one ledger's state. `moment` says when a request happens, `is_ready` whether calls are taken."""

    def __init__(
        self,
        *,
        state: State,
        standings: Standings,
        config: Config,
        moment: Callable[[web.Request], datetime],
        is_ready: Callable[[], bool],
    ) -> None:
        self._state, self._standings, self._config = state, standings, config
        self._moment, self._is_ready = moment, is_ready

    async def budget(self, request: web.Request, visit: Visit) -> web.StreamResponse:
        """GET /v1/budget?period=YYYY-MM: every account of the caller, or of all clients for an admin."""
        asked = request.query.get("period")
        moment = self._moment(request)
        accounts: list[Account] = []
        for client_id in self._clients(visit):
            zone = self._state.client(client_id).zone
            period = asked or period_of(moment, zone).name
            period_named(period, zone)  # refuses what is no month
            accounts.append(self._state.account("client", client_id, period, zone))
            accounts += self._key_accounts(visit, client_id, period, zone)
        if visit.caller.role == "admin":
            accounts.insert(0, self._state.account(WHOLE, "", asked or period_of(moment, "UTC").name))
        data = [account.as_json() for account in accounts]
        pace = [standing_views.pace_of(standing) for standing in self._seen_by(visit)]
        return answer(_encode({"object": "budget", "position": self._standings.position, "data": data, "pace": pace}))

    async def split(self, request: web.Request, visit: Visit) -> web.StreamResponse:
        """GET /v1/split: the policy, its arms with their prices now, and the shares of this month's routed drafts."""
        moment = self._moment(request)
        arms = {name: self._arm(self._config.arms[name], moment) for name in self._config.arms}
        policy = self._config.policy
        clients = [
            {
                "client_id": client_id,
                "period": (period := period_of(moment, self._state.client(client_id).zone).name),
                "classes": self._shares(client_id, period),
                **standing_views.split_of(self._standings.clients[client_id]),
            }
            for client_id in self._clients(visit)
        ]
        shown: dict[str, object] = {
            "object": "split",
            "position": self._standings.position,
            "policy": policy.name,
            "arms": arms,
            "clients": clients,
        }
        if policy.name == "fixed":
            shown["standard_share"] = policy.standard_share
        return answer(_encode(shown))

    async def quality(self, _: web.Request, visit: Visit) -> web.StreamResponse:
        """GET /v1/quality: what humans did with the drafts, by arm and class, and how long the models took."""
        allowed = set(self._clients(visit))
        edits = [
            {"client_id": client, "arm": arm, "class": ticket_class or None, **_edits(window)}
            for (client, arm, ticket_class), window in sorted(self._state.quality.items())
            if client in allowed
        ]
        latency = [
            {"client_id": client, "model": model, **_latency(window)}
            for (client, model), window in sorted(self._state.latency.items())
            if client in allowed
        ]
        seen = self._seen_by(visit)
        arms = [row for standing in seen for row in standing_views.quality_of(standing)]
        ratings = {standing.client_id: standing.ratings for standing in seen}
        shown: dict[str, object] = {
            "object": "quality",
            "edits": edits,
            "latency": latency,
            "arms": arms,
            "ratings": ratings,
        }
        shown["position"] = self._standings.position
        shown["drift"] = [standing_views.drift_of(standing) for standing in seen]
        return answer(_encode(shown))

    async def models(self, request: web.Request, _: Visit) -> web.StreamResponse:
        """GET /v1/models: every model with a price now, and "auto"."""
        moment = self._moment(request)
        priced = (self._priced(model, moment) for model in sorted(self._state.prices.by_model))
        return _listed("list", [_model(AUTO, None), *(_model(price.model, price) for price in priced if price)])

    async def model(self, request: web.Request, _: Visit) -> web.StreamResponse:
        """GET /v1/models/{id}: one of them."""
        name = request.match_info["id"]
        price = self._priced(name, self._moment(request))
        if price is None and name != AUTO:
            raise NotYours("model", "See GET /v1/models, or list a price with: halfpenny price add MODEL.")
        return answer(_encode(_model(name, price)))

    async def health(self, _: web.Request, __: Visit) -> web.StreamResponse:
        """GET /healthz: the process answers."""
        return answer(b'{"status":"ok"}')

    async def ready(self, _: web.Request, __: Visit) -> web.StreamResponse:
        """GET /readyz: calls are taken; 503 as soon as the service begins to stop."""
        if not self._is_ready():
            raise Overloaded("The service is stopping.", retry_after_s=5)
        return answer(b'{"status":"ready"}')

    def _clients(self, visit: Visit) -> list[str]:
        own = visit.caller.client_id
        return sorted(self._state.clients) if own is None else [own]

    def _seen_by(self, visit: Visit) -> list[Standing]:
        return [self._standings.clients[client_id] for client_id in self._clients(visit)]

    def _key_accounts(self, visit: Visit, client_id: str, period: str, zone: str) -> list[Account]:
        """The accounts of keys that have a cap: the caller's own, or all of the client's for an admin."""
        keys = (key for key in self._state.keys.values() if key.client_id == client_id)
        if visit.caller.role != "admin":
            keys = (key for key in keys if key.key_id == visit.caller.key_id)
        found = (self._state.account("key", key.key_id, period, zone) for key in keys)
        return [account for account in found if account.cap is not None]

    def _priced(self, model: str, moment: datetime) -> Price | None:
        try:
            return self._state.prices.price_at(model, moment)
        except UnpricedModel:
            return None

    def _arm(self, model: str, moment: datetime) -> dict[str, object]:
        price = self._priced(model, moment)
        return {
            "model": model,
            "price_id": price.price_id if price else None,
            "input_usd_per_mtok": text(price.rates.uncached_input) if price else None,
            "output_usd_per_mtok": text(price.rates.plain_output) if price else None,
        }

    def _shares(self, client_id: str, period: str) -> dict[str, dict[str, object]]:
        """Drafts an arm wrote, by class. Shapes: class -> {arm: {calls, share}}; shares of a class sum to one."""
        counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for key, spend in self._state.spend.items():
            is_routed = key.arm is not None and key.ticket_class is not None and key.purpose == "generation"
            if is_routed and (key.client_id, key.period) == (client_id, period):
                counts[key.ticket_class or ""][key.arm or ""] += spend.calls
        return {
            name: {
                arm: {"calls": calls, "share": round(calls / sum(arms.values()), 6)}
                for arm, calls in sorted(arms.items())
            }
            for name, arms in sorted(counts.items())
        }


def _listed(kind: str, data: Iterable[object]) -> web.Response:
    return answer(_encode({"object": kind, "data": list(data)}))


def _model(name: str, price: Price | None) -> dict[str, object]:
    """OpenAI's model object; `created` is when its price began, and a price's end is the model's shutdown date."""
    shown: dict[str, object] = {
        "id": name,
        "object": "model",
        "created": int(price.valid_from.timestamp()) if price else 0,
        "owned_by": price.provider if price else "halfpenny",
    }
    if price is not None and price.valid_to is not None:
        shown["shutdown_date"] = f"{price.valid_to:%Y-%m-%d}"
    return shown


def _edits(window: EditWindow) -> dict[str, object]:
    return {
        "drafts": window.drafts,
        "accepted": window.accepted,
        "touched": window.touched,
        "edit_ratio": _rounded(window.edit_ratio),
        "recent_edit_ratio": _rounded(window.recent_edit_ratio),
        "edit_seconds": _rounded(window.edit_seconds),
    }


def _latency(window: LatencyWindow) -> dict[str, object]:
    return {"calls": len(window.recent), "p50_s": window.quantile(P50), "p95_s": window.quantile(P95)}


def _rounded(found: float | None) -> float | None:
    return None if found is None else round(found, 6)
