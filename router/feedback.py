"""The handlers that take in what people made of a draft: edits and scores.

A ticket is named by its own id and looked up under the caller's client, so another client's ticket and one that never
was look the same. The texts are compared and forgotten, unless content.keep_days asks to keep drafts, encrypted; only the ratio is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Protocol, TypeVar, get_args

import msgspec
from aiohttp import web
from msgspec import Meta

from ledger.events import Disposition, DraftEdited, Event, ScoreRecorded, TicketClass
from ledger.projections import Draft, State
from router.chat_request import NAME_CHARACTERS, name_of
from router.doors import Visit, answer
from router.edit_ratio import TooLong, edit_ratio
from router.errors import BadRequest, NotYours
from router.gateway import Gateway

REWRITTEN_ABOVE = 0.6  # share of characters changed from which a reply is the human's own
_Name = Annotated[str, Meta(min_length=1, max_length=NAME_CHARACTERS)]
_Share = Annotated[float, Meta(ge=0, le=1)]
T = TypeVar("T")


class Edit(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a human made of a draft. Units: seconds."""

    final_text: str
    draft_text: str | None = None
    edit_seconds: Annotated[float, Meta(ge=0, lt=1e6)] | None = None
    disposition: Disposition | None = None


class Score(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One judgement of one draft, named by its ticket or its call. Units: `value` 0..1."""

    rubric: _Name
    criterion: _Name
    value: _Share
    scorer: _Name
    ticket_id: _Name | None = None
    call_id: _Name | None = None
    rubric_version: _Name | None = None
    run_id: _Name | None = None
    blind: bool = False


_EDIT, _SCORE = msgspec.json.Decoder(Edit), msgspec.json.Decoder(Score)


class Texts(Protocol):
    """Where drafts are kept for some days, if anywhere."""

    def keep(self, client_id: str, ticket_id: str, text: str) -> object:
        """Keep a ticket's draft."""
        ...

    def kept(self, client_id: str, ticket_id: str) -> str | None:
        """The draft kept of a ticket, or None."""
        ...


class Feedback:
    """Handlers over one ledger."""

    def __init__(
        self,
        *,
        state: State,
        submit: Callable[[Event], Awaitable[None]],
        gateway: Gateway,
        new_id: Callable[[], str],
        texts: Texts | None = None,
    ) -> None:
        self._state, self._submit, self._gateway, self._new_id = state, submit, gateway, new_id
        self._texts = texts

    async def edit(self, request: web.Request, visit: Visit) -> web.StreamResponse:
        """POST /v1/tickets/{id}/edits: a human is done with a draft."""
        said = _read(_EDIT, visit.body)
        ticket_id, draft = self._drafted(visit, name_of(request.match_info["id"], "ticket id"))
        if self._texts is not None:
            said = await self._with_draft(self._texts, visit.client_id, ticket_id, said)
        ratio = await _ratio(said)
        disposition = said.disposition or _disposition(said, ratio)
        event = DraftEdited(
            id=self._new_id(),
            subject=ticket_id,
            time=self._gateway.moment(request),
            client_id=visit.client_id,
            ticket_id=ticket_id,
            call_id=draft.call_id,
            period=draft.period,
            disposition=disposition,
            request_model=draft.request_model,
            arm=draft.arm,
            ticket_class=_class_of(draft),
            edit_ratio=ratio,
            edit_seconds=None if said.edit_seconds is None else round(said.edit_seconds, 6),
            draft_characters=None if said.draft_text is None else len(said.draft_text),
            final_characters=len(said.final_text),
            key_id=visit.caller.key_id,
        )
        await self._submit(event)
        shown: dict[str, object] = {
            "id": event.id,
            "object": "draft.edit",
            "ticket_id": ticket_id,
            "call_id": draft.call_id,
        }
        shown |= {"disposition": disposition, "arm": draft.arm}
        return answer(msgspec.json.encode({**shown, "edit_ratio": ratio, "edit_seconds": event.edit_seconds}))

    async def score(self, request: web.Request, visit: Visit) -> web.StreamResponse:
        """POST /v1/scores: one judgement of one draft, named by its ticket or its call."""
        said = _read(_SCORE, visit.body)
        ticket_id, draft = self._scored(visit, said)
        event = ScoreRecorded(
            id=self._new_id(),
            subject=draft.call_id,
            time=self._gateway.moment(request),
            client_id=visit.client_id,
            call_id=draft.call_id,
            period=draft.period,
            rubric=said.rubric,
            criterion=said.criterion,
            value=round(said.value, 6),
            scorer=said.scorer,
            request_model=draft.request_model,
            rubric_version=said.rubric_version,
            ticket_id=ticket_id,
            arm=draft.arm,
            ticket_class=_class_of(draft),
            run_id=said.run_id,
            blind=said.blind,
            key_id=visit.caller.key_id,
        )
        await self._submit(event)
        return answer(
            msgspec.json.encode({"id": event.id, "object": "score", "call_id": draft.call_id, "ticket_id": ticket_id})
        )

    async def _with_draft(self, texts: Texts, client_id: str, ticket_id: str, said: Edit) -> Edit:
        """The edit with its draft: kept for later when it came along, taken from what was kept when not."""
        if said.draft_text is not None:
            await asyncio.to_thread(texts.keep, client_id, ticket_id, said.draft_text)
            return said
        return msgspec.structs.replace(said, draft_text=await asyncio.to_thread(texts.kept, client_id, ticket_id))

    def _drafted(self, visit: Visit, given: str | None) -> tuple[str, Draft]:
        ticket_id = self._gateway.ticket_id(visit.client_id, given) or ""
        draft = self._state.drafts.get((visit.client_id, ticket_id))
        if draft is None:
            raise NotYours("drafted ticket", "Name the ticket_id of a draft made for this client.")
        return ticket_id, draft

    def _scored(self, visit: Visit, said: Score) -> tuple[str, Draft]:
        if said.ticket_id is None and said.call_id is None:
            raise BadRequest("Name the draft with ticket_id or call_id.", param="ticket_id")
        if said.ticket_id is not None:
            found = self._drafted(visit, said.ticket_id)
        else:
            found = self._drafted_by_call(visit, said.call_id)
        if said.call_id not in (None, found[1].call_id):
            raise NotYours("draft", "The ticket's latest draft is another call; leave out call_id or name that one.")
        return found

    def _drafted_by_call(self, visit: Visit, call_id: str | None) -> tuple[str, Draft]:
        # Newest first: what is scored was usually drafted lately, and no index is kept for the rest.
        for (client_id, ticket_id), draft in reversed(self._state.drafts.items()):
            if draft.call_id == call_id and client_id == visit.client_id:
                return ticket_id, draft
        raise NotYours("draft", "Name the call_id of a draft made for this client.")


def _read(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as refused:
        complaint, _, place = str(refused).partition(" - at `$")
        param = place.rstrip("`").lstrip(".") or None
        raise BadRequest(f"The body cannot be taken: {complaint[:1].lower()}{complaint[1:]}.", param=param) from None
    except RecursionError:
        raise BadRequest("The body is nested too deeply.") from None


async def _ratio(said: Edit) -> float | None:
    """The ratio where the draft is at hand; a draft sent as it is was not changed, whether or not it is shown again."""
    if said.draft_text is None:
        return 0.0 if said.disposition == "as_is" else None
    try:
        return await edit_ratio(said.draft_text, said.final_text)
    except TooLong as long:
        raise BadRequest(
            f"The texts cannot be compared: {long}. Send disposition without draft_text.", param="draft_text"
        ) from None


def _disposition(said: Edit, ratio: float | None) -> Disposition:
    if ratio is None:
        raise BadRequest(
            f"Send draft_text, or disposition as one of {', '.join(get_args(Disposition))}.", param="disposition"
        )
    if ratio == 0.0 and said.draft_text == said.final_text:
        return "as_is"
    return "rewritten" if ratio > REWRITTEN_ABOVE else "edited"


def _class_of(draft: Draft) -> TicketClass | None:
    return None if draft.ticket_class is None else "simple" if draft.ticket_class == "simple" else "complex"
