"""The bound of a reply over the ledger's state: what the client set, else what the gateway imposes, and what it holds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from ledger.charges import worst_case
from ledger.errors import UnpricedModel
from ledger.prices import Price
from ledger.projections import State
from router.chat_request import ChatRequest
from router.config import OutputTokens
from router.output_bounds import bounds_of, imposed, kind_of
from router.settlement import Asked
from router.standing import Standing


class Bounded(NamedTuple):
    """What one choice may write, and down to what that may be lowered before a call is refused. Units: tokens."""

    tokens: int
    least: int


class Bounding:
    """Bounds of replies. All it reads are folds of the log and the configuration."""

    def __init__(
        self, state: State, standing: Callable[[str], Standing | None], settings: OutputTokens, picture_tokens: int
    ) -> None:
        self._state, self._standing, self._settings = state, standing, settings
        self._picture_tokens = picture_tokens

    def bound(
        self, asked: Asked, chat: ChatRequest, price: Price, ticket_class: str | None, request_bytes: int
    ) -> Bounded:
        """The client's own bound, never lowered; else the one imposed on replies of this kind by `price.model`."""
        own = chat.max_output_tokens
        if own is not None:
            return Bounded(own, own)
        most = self._settings.of(price.model)
        if price.max_output_tokens is not None:
            most = min(most, price.max_output_tokens)
        room = self._room(asked)
        if room is None:
            return Bounded(most, most)
        standing = self._standing(asked.client_id)
        bounds = bounds_of(
            standing.written.get(kind_of(price.model, asked.purpose, ticket_class)) if standing else None,
            most=most,
            cold_start=self._settings.cold_start,
            cold_least=self._settings.cold_least,
        )

        def worst(tokens: int) -> Decimal:
            return worst_case(
                price.rates, input_tokens_at_most=request_bytes, output_tokens_at_most=tokens * chat.choices
            )

        return Bounded(imposed(bounds, worst, room), bounds.least)

    def holds_usd(
        self, asked: Asked, chat: ChatRequest, model: str, moment: datetime, ticket_class: str
    ) -> float | None:
        """What a draft by a model would hold, to choose by; USD. None when the model has no price then."""
        try:
            price = self._state.prices.price_at(model, moment)
        except UnpricedModel:
            return None
        request_bytes = self.input_tokens_at_most(chat)
        output = self.bound(asked, chat, price, ticket_class, request_bytes).tokens * chat.choices
        return float(worst_case(price.rates, input_tokens_at_most=request_bytes, output_tokens_at_most=output))

    def input_tokens_at_most(self, chat: ChatRequest) -> int:
        """About what a request may have, rather more than less: its bytes, and its pictures at what each is held at."""
        return chat.bytes_at_most + self.picture_tokens(chat)

    def picture_tokens(self, chat: ChatRequest) -> int:
        """What the pictures of a request are held at."""
        return chat.pictures * self._picture_tokens

    def _room(self, asked: Asked) -> Decimal | None:
        """What the tightest hard cap leaves; None without one. Units: exact USD, negative below a lowered cap."""
        if not self._state.caps:
            return None
        accounts = self._state.accounts_for(asked.client_id, asked.key_id, asked.period)
        rooms = (account.available for account in accounts if account.hard)
        return min((room for room in rooms if room is not None), default=None)
