"""One budget for several gateways: what each counts lies in a Redis or Valkey, and a hold is asked for there first.

Every gateway keeps its own ledger and writes only its own figures, absolute ones, so a message that comes twice changes
nothing. One script checks every cap against the sum of all gateways and only then writes. The server is never the truth:
when it has restarted, failed over or been emptied, nobody gets a hold until every gateway has told its ledger's figures
again. Whatever is in doubt is refused: late answers, missing gateways, a second process on the same home.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import structlog

from ledger.budgets import Account
from ledger.errors import BudgetSpent
from ledger.events import CallEvent, CallReserved
from ledger.money import ZERO
from ledger.projections import State
from ledger.spending import Running, scopes
from router.config import Budget as Settings
from router.errors import Overloaded
from router.provider_config import BadConfig

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.commands.core import AsyncScript

Place = tuple[str, str, str]  # scope, id, period
BEAT_S = 1.0  # how often figures are told when nobody asks, so that an emptied server is filled again
KEPT_S = 100 * 86_400  # a month's figures outlive the month
NANO = Decimal(10**9)
EXACT_BELOW = 2**53  # the server's scripts count in doubles; up to here whole numbers are exact
BOOK, MEMBERS = "{halfpenny}:budget:book", "{halfpenny}:budget:members"
_log = structlog.stdlib.get_logger()

# A gateway says who it is. Shapes: KEYS book, members; ARGV gateway, token, the epoch it was last in. Gives the epoch in
# which figures count now, or "" to one whose place another process has taken since.
_REGISTER = """
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
if redis.call('HGET', KEYS[1], 'run') ~= run then
  local now = redis.call('TIME')
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('HSET', KEYS[1], 'run', run, 'epoch', string.sub(run, 1, 8) .. now[1] .. now[2])
end
local epoch, token = unpack(redis.call('HMGET', KEYS[1], 'epoch', 'token:' .. ARGV[1]))
if epoch == ARGV[3] and token ~= ARGV[2] then return '' end
redis.call('HSET', KEYS[1], 'token:' .. ARGV[1], ARGV[2])
return epoch
"""

# Figures told and holds asked for, in one step: everything is checked before anything is written.
# Shapes: KEYS book, members, one hash a place; ARGV[1] JSON {gateway, token, epoch, version, position, is_whole, gateways,
# kept_s, figures [[settled, held, orphaned] a place], asks [[wanted, [place, cap or null] ...]]}. Units: nano-USD.
# Gives a word first; after "ok" an answer an ask: "" or "place settled held orphaned" of what did not fit.
_TELL = """
local said = cjson.decode(ARGV[1])
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local book = redis.call('HMGET', KEYS[1], 'run', 'epoch', 'token:' .. said.gateway)
if book[1] ~= run or book[2] ~= said.epoch or not book[3] then return {'register'} end
if book[3] ~= said.token then return {'taken'} end
local known = redis.call('HGET', KEYS[2], said.gateway)
if known then
  local token, version, position = string.match(known, '^(%S+) (%d+) (%d+)$')
  if token == said.token and tonumber(version) >= said.version then return {'late'} end
  if tonumber(position) > said.position then return {'behind', position} end
elseif not said.is_whole then
  return {'register'}
end
local count = redis.call('HLEN', KEYS[2]) + (known and 0 or 1)
local own, others = said.figures, {}
for place = 1, #own do
  local sum = {0, 0, 0}
  local all = redis.call('HGETALL', KEYS[place + 2])
  for at = 1, #all, 2 do
    if all[at] ~= said.gateway then
      local settled, held, orphaned = string.match(all[at + 1], '^(%d+) (%d+) (%d+)$')
      sum = {sum[1] + settled, sum[2] + held, sum[3] + orphaned}
    end
  end
  others[place] = sum
end
local answers = {'ok', tostring(count)}
for at, ask in ipairs(said.asks) do
  local refusal = ''
  for part = 2, #ask do
    local place, cap = ask[part][1], ask[part][2]
    local mine, theirs = own[place], others[place]
    local settled, held, orphaned = mine[1] + theirs[1], mine[2] + theirs[2], mine[3] + theirs[3]
    if cap ~= cjson.null and refusal == '' and settled + held + orphaned + ask[1] > cap then
      refusal = string.format('%d %.0f %.0f %.0f', part - 2, settled, held, orphaned)
    end
  end
  if count < said.gateways then refusal = 'missing' end
  if refusal == '' then
    for part = 2, #ask do
      local place = ask[part][1]
      own[place][2] = own[place][2] + ask[1]
    end
  end
  answers[at + 2] = refusal
end
for place = 1, #own do
  local mine = own[place]
  redis.call('HSET', KEYS[place + 2], said.gateway, string.format('%.0f %.0f %.0f', mine[1], mine[2], mine[3]))
  redis.call('EXPIRE', KEYS[place + 2], said.kept_s)
end
redis.call('HSET', KEYS[2], said.gateway, string.format('%s %.0f %.0f', said.token, said.version, said.position))
return answers
"""


class BudgetOutOfReach(Overloaded):
    """Whether a hold fits cannot be known now, so it does not."""

    def __init__(self, why: str) -> None:
        super().__init__(f"The budget shared by several gateways cannot be asked: {why}.")


class _Ask(NamedTuple):
    hold: CallReserved
    wanted: int
    answer: asyncio.Future[None]


class SharedBudget:
    """This gateway's voice before the server. Only one message is under way at a time, and carries all that waits.

    Shapes: `gateway` names this home among the others, for good, and `token` this process; `durable` says up to which
    event the ledger is on the disk, so that an older copy of the home is noticed.
    """

    def __init__(
        self,
        state: State,
        server: Redis,
        settings: Settings,
        *,
        gateway: str,
        token: str,
        durable: Callable[[], int],
    ) -> None:
        self._state, self._server, self._settings, self._durable = state, server, settings, durable
        self._gateway, self._token = gateway, token
        self._register, self._tell_all = server.register_script(_REGISTER), server.register_script(_TELL)
        self._epoch = self._last_epoch = ""  # none yet, or doubted
        self._version = 0
        self._asks: list[_Ask] = []
        self._more: dict[
            Place, int
        ] = {}  # held beside the ledger: granted and not yet in it, freed and not yet durable
        self._told: dict[Place, tuple[int, int, int]] = {}
        self._changed: set[Place] = set()
        self._wake = asyncio.Event()
        self._is_reached = True

    async def __aenter__(self) -> Self:
        self._wake.set()  # the first figures at once
        self._speaking = asyncio.create_task(self._speak())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._speaking.cancel()
        with suppress(asyncio.CancelledError):
            await self._speaking
        with suppress(BudgetOutOfReach):
            await self._tell([])  # what ended last makes room for the others
        await self._server.aclose()

    @asynccontextmanager
    async def room(self, hold: CallReserved) -> AsyncIterator[None]:
        """Room for a hold under every hard cap, in which the block makes it. What the block leaves out comes free.

        Errors: BudgetSpent with the figures of all gateways; BudgetOutOfReach.
        """
        wanted = _nano(Decimal(hold.hold_usd), ROUND_CEILING)
        ask = _Ask(hold, wanted, asyncio.get_running_loop().create_future())
        self._asks.append(ask)
        self._wake.set()
        try:
            await ask.answer
            yield
        finally:
            if ask.answer.done() and not ask.answer.cancelled() and ask.answer.exception() is None:
                self._hold_more(hold, -wanted)
                self._changed.update(_places(hold))

    @contextmanager
    def ending(self, hold: CallReserved, cost: Decimal) -> Iterator[None]:
        """What an ended call leaves free stays held for the others until the block, which waits for the disk, is over."""
        left = max(_nano(Decimal(hold.hold_usd) - cost, ROUND_CEILING), 0)
        self._hold_more(hold, left)
        try:
            yield
        finally:
            self._hold_more(hold, -left)
            self._changed.update(_places(hold))
            self._wake.set()

    def _hold_more(self, hold: CallReserved, nano: int) -> None:
        for place in _places(hold):
            if more := self._more.pop(place, 0) + nano:
                self._more[place] = more

    async def _speak(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await self._wake.wait()
            self._wake.clear()
            asks = [ask for ask in self._asks if not ask.answer.done()]
            self._asks.clear()
            try:
                await self._tell(asks)
                self._is_reached = True
            except BudgetOutOfReach as out:
                if self._is_reached:
                    _log.error("budget_out_of_reach", why=str(out))
                self._is_reached = False
                for ask in asks:
                    if not ask.answer.done():
                        ask.answer.set_exception(out)

    async def _tell(self, asks: list[_Ask]) -> None:
        for _ in range(3):  # once as it is, once to register anew, once more where the server was emptied in between
            if not self._epoch:
                who = [self._gateway, self._token, self._last_epoch]
                epoch = await self._ask_server(self._register, [BOOK, MEMBERS], who)
                if not epoch:
                    raise BudgetOutOfReach("another process speaks for this home; stop one of the two")
                self._epoch = self._last_epoch = epoch
                self._told.clear()
            places = self._to_tell(asks)
            word, *answers = await self._ask_server(
                self._tell_all,
                [BOOK, MEMBERS, *(f"{{halfpenny}}:budget:{self._epoch}:{' '.join(place)}" for place in places)],
                [self._message(places, asks)],
            )
            if word == "ok":
                self._answer(asks, int(answers[0]), answers[1:])
                return
            if word == "taken":
                raise BudgetOutOfReach("another process speaks for this home; stop one of the two")
            if word == "behind":
                raise BudgetOutOfReach(
                    f"this home ends at event {self._durable()}, and had told of event {answers[0]}; "
                    "go on with the newest copy of the home"
                )
            self._epoch = ""
        raise BudgetOutOfReach("its server forgets what it is told")

    def _to_tell(self, asks: Iterable[_Ask]) -> list[Place]:
        """The places a message is about: asked for, changed, or told otherwise before."""
        found = dict.fromkeys(place for ask in asks for place in _places(ask.hold))
        found |= dict.fromkeys(self._changed)
        if not asks or not self._told:  # there is time to look at everything
            running = self._state.running.items()
            found |= {place: None for place, now in running if self._figures(now, place) != self._told.get(place)}
        return list(found)

    def _figures(self, now: Running, place: Place) -> tuple[int, int, int]:
        held = _nano(now.held, ROUND_CEILING) + self._more.get(place, 0)
        return _nano(now.settled, ROUND_CEILING), held, _nano(now.orphaned, ROUND_CEILING)

    def _message(self, places: list[Place], asks: list[_Ask]) -> str:
        self._version += 1
        figures = [self._figures(self._state.running.get(place) or Running(), place) for place in places]
        number = {place: at for at, place in enumerate(places, 1)}
        message = {
            "gateway": self._gateway,
            "token": self._token,
            "epoch": self._epoch,
            "version": self._version,
            "position": self._durable(),
            "is_whole": not self._told,
            "gateways": self._settings.gateways,
            "kept_s": KEPT_S,
            "figures": figures,
            "asks": [
                [ask.wanted, *zip(map(number.get, _places(ask.hold)), self._caps(ask), strict=True)] for ask in asks
            ],
        }
        self._told.update(zip(places, figures, strict=True))
        self._changed.difference_update(places)
        return json.dumps(message)

    def _accounts(self, hold: CallReserved) -> tuple[Account, ...]:
        return self._state.accounts_for(hold.client_id or "", hold.key_id, hold.period)

    def _caps(self, ask: _Ask) -> Iterator[int | None]:
        for account in self._accounts(ask.hold):
            yield _nano(account.cap, ROUND_FLOOR) if account.cap is not None and account.hard else None

    def _answer(self, asks: list[_Ask], gateways: int, answers: list[str]) -> None:
        for ask, refusal in zip(asks, answers, strict=True):
            if refusal == "missing":
                why = f"{gateways} of {self._settings.gateways} gateways have told it their figures; start the others"
                _give(ask, BudgetOutOfReach(why))
            elif refusal:
                _give(ask, self._spent(ask, refusal))
            elif ask.answer.done():
                self._changed.update(_places(ask.hold))  # it has left; the next message says so
                self._wake.set()
            else:
                self._hold_more(ask.hold, ask.wanted)
                _give(ask, None)

    def _spent(self, ask: _Ask, refusal: str) -> BudgetSpent:
        at, settled, held, orphaned = (int(part) for part in refusal.split())
        account = self._accounts(ask.hold)[at]
        return BudgetSpent(
            scope=account.scope,
            period=account.period,
            cap=account.cap or ZERO,
            settled=settled / NANO,
            held=held / NANO,
            orphaned=orphaned / NANO,
            wanted=Decimal(ask.hold.hold_usd),
        )

    async def _ask_server(self, script: AsyncScript, keys: list[str], arguments: list[str]) -> Any:
        from redis.exceptions import RedisError  # noqa: PLC0415 (only where one is configured)

        try:
            async with asyncio.timeout(self._settings.timeout_s):
                return await script(keys=keys, args=arguments)
        except (RedisError, OSError) as broke:  # TimeoutError is an OSError
            self._epoch = ""  # what it did with the message is not known
            raise BudgetOutOfReach(f"its server did not answer ({type(broke).__name__})") from None


def shared_budget(
    state: State, settings: Settings, *, gateway: str, token: str, durable: Callable[[], int]
) -> SharedBudget | None:
    """The configured server's budget, or None where this gateway is alone. Errors: BadConfig."""
    if not settings.url:
        return None
    try:
        from redis.asyncio import Redis  # noqa: PLC0415 (an extra)
    except ImportError:
        raise BadConfig(
            "budget.url needs the library redis. Install it with: pip install 'halfpenny[cache]'."
        ) from None
    try:
        server = Redis.from_url(
            settings.url,
            decode_responses=True,
            socket_timeout=settings.timeout_s,
            socket_connect_timeout=settings.timeout_s,
        )
    except ValueError:
        raise BadConfig("budget.url is not an address of a server. Write it like redis://127.0.0.1:6379/0.") from None
    return SharedBudget(state, server, settings, gateway=gateway, token=token, durable=durable)


def _places(event: CallEvent) -> tuple[Place, ...]:
    return tuple((*scope, event.period) for scope in scopes(event.client_id, event.key_id))


def _nano(amount: Decimal, rounding: str) -> int:
    """USD as whole nano-USD: what is spent rounded up, what may be spent rounded down. Errors: BudgetOutOfReach."""
    found = int((amount * NANO).to_integral_value(rounding=rounding))
    if found >= EXACT_BELOW:
        raise BudgetOutOfReach("an amount of nine million USD or more cannot be counted there exactly")
    return found


def _give(ask: _Ask, refusal: Exception | None) -> None:
    if ask.answer.done():
        return
    if refusal is None:
        ask.answer.set_result(None)
    else:
        ask.answer.set_exception(refusal)
