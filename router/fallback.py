"""Another model in the place of one that failed: who it is, at whose door, and whether it could answer at all.

One step, no chain. It is the same call: its attempts go on counting, each is held and settled at its own model's
price, and what the first provider may have billed stays charged. The decision of a policy stays with the attempt it made.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import structlog
from msgspec.structs import replace

from ledger.errors import UnpricedModel
from ledger.prices import Price, PriceBook
from router import classify
from router.breaker import Breakers
from router.chat_request import ChatRequest, upstream_body
from router.config import Config
from router.errors import HttpError
from router.provider_config import Provider
from router.settlement import Elsewhere, Order, Remade
from router.upstream import Upstream

# Of the refusals below 500 those that speak of the provider's account or load, not of the request.
NOT_THE_REQUESTS = frozenset((402, 408, 429))
HEADER = "x-halfpenny-fallback"
_log = structlog.stdlib.get_logger()


class Way(NamedTuple):
    """To a provider: its settings, its connections, and who is shut out there."""

    provider: Provider
    upstream: Upstream
    breakers: Breakers

    @classmethod
    def to(cls, provider: Provider, upstream: Upstream) -> Way:
        """The way on which nobody is shut out yet."""
        return cls(provider, upstream, Breakers(failures=provider.breaker_failures, open_s=provider.breaker_open_s))


class Fallback:
    """Which model answers for which, and where. Without a second provider both are at the first."""

    def __init__(self, config: Config, first: Way, second: Upstream | None, prices: PriceBook) -> None:
        self.way = first if second is None else Way.to(config.fallback, second)
        self._is_second = second is not None
        self._models, self._prices = config.fallback.models, prices
        self._arms = {model: arm for arm, model in reversed(list(config.arms.items()))}

    def stands_ready(self, order: Order, now: float) -> bool:
        """Whether another provider could be asked for a call whose own is not asked at the moment."""
        is_meant = order.elsewhere is not None and order.model in self._models
        return is_meant and self._is_second and not self.way.breakers.is_shut(order.client_id, now)

    def instead(self, order: Order, error: HttpError, now: float) -> Order | None:
        """The same call for the other model, at its own price; None where none is named, could answer, has a price or is asked."""
        model = self._models.get(order.model)
        if model is None or order.elsewhere is None or not could_answer(error):
            return None
        try:
            price = self._prices.price_at(model, order.moment)
        except UnpricedModel as unpriced:
            _log.warning("not_fallen_back", call_id=order.call_id, why=str(unpriced))
            return None
        if self.way.breakers.wait_s(order.client_id, now) is not None:
            return None
        made = order.elsewhere(price)
        _log.info("falls_back", call_id=order.call_id, client_id=order.client_id, model=model, code=error.code)
        return replace(
            order,
            model=model,
            price=price,
            body=made.body_at(made.tokens),
            body_at=None if order.body_at is None else made.body_at,
            more_input_tokens=made.more_input_tokens,
            max_output_tokens=made.tokens * order.choices,
            least_output_tokens=min(order.least_output_tokens, made.tokens * order.choices),
            decision=None,
            arm=self._arms.get(model) if order.decision is not None else None,
            reason=words(order.model, error.code or "", model),
        )


def could_answer(error: HttpError) -> bool:
    """Whether another provider or model might answer what this one did not: never a request that was refused for what it says."""
    return error.status >= 500 or error.status in NOT_THE_REQUESTS


def words(asked: str, code: str, answers: str) -> str:
    """Why another model answers, for people."""
    return f"{asked} failed ({code}), so {answers} answers in its place"[:2000]


def chat_elsewhere(chat: ChatRequest, tokens: int, config: Config) -> Elsewhere:
    """A client's request for another model. Units: `tokens` bound a choice; what the client said itself is not lowered."""

    def elsewhere(price: Price) -> Remade:
        provider = _provider(config)
        body = partial(upstream_body, chat, model=price.model, takes=provider.capabilities)
        most = [bound for bound in (config.output_tokens.of(price.model), price.max_output_tokens) if bound is not None]
        return Remade(
            lambda bound: body(max_output_tokens=bound),
            tokens if chat.max_output_tokens is not None else min(tokens, *most),
            chat.pictures * provider.picture_tokens,
        )

    return elsewhere


def sorting_elsewhere(ticket: str, config: Config) -> Elsewhere:
    """The classification call for another model."""
    settings = config.classifier

    def elsewhere(price: Price) -> Remade:
        body = partial(
            classify.request_body,
            ticket,
            model=price.model,
            text_characters=settings.text_characters,
            output_bound=_provider(config).capabilities.imposed_bound,
        )
        return Remade(lambda bound: body(max_completion_tokens=bound), settings.max_completion_tokens)

    return elsewhere


def _provider(config: Config) -> Provider:
    return config.fallback if config.fallback.base_url else config.provider
