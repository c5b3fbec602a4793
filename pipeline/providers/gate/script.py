"""The gate in the broker: all workers share it, and one script does each message of it whole.

A breaker is a JSON document at `cite_agent:breaker:{provider}:{model}`, what is spent of a provider's limits one at
`cite_agent:limits:{provider}`, its calls under way a sorted set at `cite_agent:slots:{provider}`. The script is
`machine.py` over again, by the broker's clock; a test holds the two to each other. It uses Redis 7.0 and no more.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import redis
from redis.exceptions import NoScriptError

from pipeline import broker
from pipeline.providers.gate.machine import Message, Result
from pipeline.settings import ProviderSettings

#: Seconds after which a breaker that nobody asks is forgotten.
KEEP = 86_400

BREAKER = """
local rate, least, window, open_for, trials, ramp = unpack(given.rules)
local PARTS, FLOOR, AGAIN, LONG, ANY, KEEP = 20, 0.1, 1.0, 30.0, -1, ARGV[2]
local docs, dirty, changes = {}, {}, {}

local function breaker(i)
  if not docs[i] then
    local raw = raws[3 * i + 1]
    docs[i] = raw and cjson.decode(raw)
      or {state = 'closed', epoch = 0, since = 0, ramping = false, window = {}, in_a_row = 0, good = 0, trials = {},
        passed = 0}
    if docs[i].since > now then docs[i].since, dirty[i] = now, true end
  end
  return docs[i]
end

local function note(i)
  local b = docs[i]
  changes[#changes + 1] = {i, b.state, b.why or cjson.null}
end

local function become(i, state, ramping)
  local b = docs[i]
  b.state, b.since, b.ramping, b.passed, b.window, b.trials = state, now, ramping, 0, {}, {}
  b.epoch, b.in_a_row, b.good = b.epoch + 1, 0, 0
  dirty[i] = true
end

local function open(i, why)
  become(i, 'open', false)
  docs[i].why = why
  note(i)
end

local function observe(i, second, failure)
  local b, part, kept = docs[i], math.floor(now * PARTS / window), {}
  for _, one in ipairs(b.window) do if one[1] > part - PARTS and one[1] <= part then kept[#kept + 1] = one end end
  if #kept == 0 or kept[#kept][1] < part then kept[#kept + 1] = {part, 0, 0} end
  local column = failure and 3 or 2
  kept[#kept][column] = kept[#kept][column] + 1
  b.window, b.in_a_row, b.good, dirty[i] = kept, b.in_a_row or 0, b.good or 0, true
  if not failure then b.in_a_row, b.good = 0, math.max(b.good, second) return end
  if second >= b.good then b.in_a_row = b.in_a_row + 1 end
  local total, failed = 0, 0
  for _, one in ipairs(kept) do total, failed = total + one[2] + one[3], failed + one[3] end
  local often, dead = total >= least and failed >= rate * total, math.min(failed, b.in_a_row) >= least
  if often or dead then open(i, failure) end
end

local function settle_breaker(i, ticket, epoch, second, failure, void)
  local b = breaker(i)
  if epoch ~= b.epoch and epoch ~= ANY then return end
  if b.state == 'closed' then
    if not void then observe(i, second, failure) end
  elseif b.state == 'half_open' and b.trials[ticket] then
    b.trials[ticket], dirty[i] = nil, true
    if void then return end
    if failure then open(i, failure) return end
    b.passed = b.passed + 1
    if b.passed >= trials then become(i, 'closed', true) note(i) end
  end
end

local function ask_breaker(i, draw, ticket, seconds)
  local b = breaker(i)
  if b.state == 'open' then
    local wait = b.since + open_for - now
    if wait > 0 then return 'breaker_open', wait end
    become(i, 'half_open', false)
    note(i)
  end
  if b.state == 'half_open' then
    local under_way = 0
    for id, expiry in pairs(b.trials) do
      if expiry > now then under_way = under_way + 1 else b.trials[id], dirty[i] = nil, true end
    end
    if under_way + b.passed >= trials then return 'breaker_half_open', AGAIN + math.min(now - b.since, LONG) / 2 end
    b.trials[ticket], dirty[i] = now + seconds, true
  elseif b.ramping then
    local elapsed = now - b.since
    if draw >= FLOOR + (1 - FLOOR) * elapsed / ramp then
      return 'breaker_ramp', math.max(AGAIN, (ramp - elapsed) * draw)
    end
  end
end
"""

LIMITS = """
local MINUTE, spents, touched = 60, {}, {}

local function spent(i)
  if not spents[i] then
    local raw = raws[3 * i + 2]
    spents[i] = raw and cjson.decode(raw) or {closed_until = 0, seconds = {}}
  end
  return spents[i]
end

local function wait_for(s, column, amount, limit)
  local over = math.min(amount, limit) - limit
  for _, one in ipairs(s.seconds) do over = over + one[column] end
  if over <= 0 then return nil end
  for _, one in ipairs(s.seconds) do
    over = over - one[column]
    if over <= 0 then return one[1] + 1 + MINUTE - now end
  end
end

local function ask_limits(i, tokens)
  local concurrency, requests, most = unpack(given.limits[i + 1])
  local s, kept = spent(i), {}
  if s.closed_until > now then return 'retry_after', s.closed_until - now end
  if concurrency ~= cjson.null then
    local key = KEYS[3 * i + 3]
    redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.6f', now))
    if redis.call('ZCARD', key) >= concurrency then return 'concurrency', AGAIN end
  end
  for _, one in ipairs(s.seconds) do
    if one[1] + 1 + MINUTE > now and one[1] <= now then kept[#kept + 1] = one else touched[i] = true end
  end
  s.seconds = kept
  local wait = requests ~= cjson.null and wait_for(s, 2, 1, requests)
  if wait then return 'requests_per_minute', wait end
  wait = most ~= cjson.null and wait_for(s, 3, tokens, most)
  if wait then return 'tokens_per_minute', wait end
end

local function reserve(i, ticket, tokens, seconds)
  local concurrency, requests, most = unpack(given.limits[i + 1])
  local second, s = math.floor(now), spent(i)
  if concurrency ~= cjson.null then
    local key = KEYS[3 * i + 3]
    redis.call('ZADD', key, string.format('%.6f', now + seconds), ticket)
    redis.call('EXPIRE', key, KEEP)
  end
  if requests ~= cjson.null or most ~= cjson.null then
    local all = s.seconds
    if #all == 0 or all[#all][1] < second then all[#all + 1] = {second, 0, 0} end
    all[#all][2], all[#all][3], touched[i] = all[#all][2] + 1, all[#all][3] + tokens, true
  end
  return second
end

local function settle_limits(i, ticket, second, more, closed_for)
  local concurrency, requests, most = unpack(given.limits[i + 1])
  if concurrency ~= cjson.null then redis.call('ZREM', KEYS[3 * i + 3], ticket) end
  if closed_for == cjson.null and (most == cjson.null or more == 0) then return end
  local s = spent(i)
  for _, one in ipairs(s.seconds) do
    if one[1] == second then one[3] = math.max(0, one[3] + more) end
  end
  if closed_for ~= cjson.null then s.closed_until = math.max(s.closed_until, now + closed_for) end
  touched[i] = true
end
"""

SCRIPT = f"""
local given = cjson.decode(ARGV[1])
local now = tonumber(ARGV[3])
if not now then local time = redis.call('TIME') now = time[1] + time[2] / 1000000 end
local raws = redis.call('MGET', unpack(KEYS))
{BREAKER}
{LIMITS}
for _, i in ipairs(given.reset) do
  breaker(i)
  become(i, 'closed', false)
  note(i)
  spent(i).closed_until, touched[i] = 0, true
end
for _, one in ipairs(given.settle) do
  local i, ticket, epoch, failure, void, second, more, closed_for = unpack(one)
  settle_limits(i, ticket, second, more, closed_for)
  settle_breaker(i, ticket, epoch, second, failure ~= cjson.null and failure or nil, void)
end
local replies = {{}}
for n, ask in ipairs(given.admit) do
  local ticket, draw, offers = unpack(ask)
  local reply, refusals = {{-1, 0, 0, false}}, {{}}
  for place, offer in ipairs(offers) do
    local i, tokens, seconds = unpack(offer)
    local why, wait = ask_limits(i, tokens)
    if not why then why, wait = ask_breaker(i, draw, ticket, seconds) end
    if not why then
      local second = reserve(i, ticket, tokens, seconds)
      reply = {{place - 1, breaker(i).epoch, second, breaker(i).state == 'half_open'}}
      break
    end
    refusals[#refusals + 1] = {{why, wait}}
  end
  reply[5] = refusals
  replies[n] = reply
end
for i in pairs(dirty) do redis.call('SET', KEYS[3 * i + 1], cjson.encode(docs[i]), 'EX', KEEP) end
for i in pairs(touched) do
  local s = spents[i]
  local keep = math.max(2 * MINUTE, math.ceil(s.closed_until - now) + 1)
  redis.call('SET', KEYS[3 * i + 2], cjson.encode(s), 'EX', keep)
end
return cjson.encode({{replies = replies, changes = changes}})
"""


#: Made once: `json.dumps` makes one each time that it is to leave out the spaces.
_encode = json.JSONEncoder(separators=(",", ":")).encode


def breaker_key(provider: ProviderSettings) -> str:
    """Where a breaker lies."""
    return f"cite_agent:breaker:{provider.name}:{provider.model}"


def limits_key(provider: ProviderSettings) -> str:
    """Where it is kept what of a provider's limits is spent."""
    return f"cite_agent:limits:{provider.name}"


def slots_key(provider: ProviderSettings) -> str:
    """Where a provider's calls under way are kept."""
    return f"cite_agent:slots:{provider.name}"


class Script:
    """The machine that all workers share."""

    def __init__(self, client: redis.Redis, providers: Sequence[ProviderSettings]) -> None:
        self._line = broker.Line(client)
        keys = [key for one in providers for key in (breaker_key(one), limits_key(one), slots_key(one))]
        self._head: tuple[str | int | bytes, ...] = (
            "EVALSHA",
            client.register_script(SCRIPT).sha,
            len(keys),
            *(key.encode() for key in keys),
        )

    def run(self, message: Message, now: float | None = None) -> Result:
        """As Machine.run, by the broker's clock where none is given. Raises one of broker.FAULTS."""
        command = (*self._head, _encode(message.as_json()), KEEP, "" if now is None else repr(now))
        try:
            said = self._line.ask(*command)
        except NoScriptError:
            self._line.ask("SCRIPT", "LOAD", SCRIPT)
            said = self._line.ask(*command)
        return Result.of(json.loads(said))

    def close(self) -> None:
        """Let go of the connection."""
        self._line.close()
