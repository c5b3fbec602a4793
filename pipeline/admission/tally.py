"""What the broker knows of the limits, and the two scripts that read and write it, a round trip each.

Of each user: how many requests were let in, by slots of time, a twentieth of the rate's window each. So no stretch of
that length brings more than the limit, and who is always at it loses a twentieth at most. Of the queue: its depth at
the last exact count, what was let in since, and how fast it drains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import redis

from pipeline.rate import Rate

#: The key of what is known of the queue.
QUEUE = "cite_agent:admission"

#: Parts of a rate's window that are counted for themselves.
SLOTS = 20

#: Milliseconds between two exact counts, over the whole fleet; between two warnings; and for which the drain rate is
#: averaged.
COUNT_EVERY, WARN_EVERY, DRAIN_WINDOW = 1_000, 60_000, 10_000

#: Milliseconds after which a count is too old to refuse anybody by: counts come with submissions, and after a pause
#: the last one says nothing of the queue as it is.
COUNT_HOLDS = 2 * COUNT_EVERY

#: The verdict on an item that finds the queue full.
FULL = -1

#: Seconds after the last use for which the broker keeps what is known of the queue.
KEEP = 3600

# Items are let in one by one, in their order. Nothing is written for one that is refused.
ADMIT = """
local limit, window, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function whole(number) return string.format('%.0f', number) end

local q = redis.call('HMGET', KEYS[1], 'depth', 'counted', 'accepted', 'asked', 'warned', 'rate', 'at')
local accepted = tonumber(q[3] or 0)
local depth = q[1] and math.max(0, q[1] + accepted - q[2])

-- a slot of time counts until its last moment is a window ago; one that lies ahead was counted under a shorter window,
-- or by a clock that was set back, and says nothing of this one
local slots = tonumber(ARGV[8])
local span = window / slots
local this = math.floor(now / span)
local users = {}
local function user(at)
  if users[at] then return users[at] end
  local one, known = {total = 0, added = 0, over = {}}, redis.call('HGETALL', KEYS[at])
  for i = 1, #known, 2 do
    local slot, size = tonumber(known[i]), tonumber(known[i + 1])
    if slot + slots >= this and slot <= this then
      one[#one + 1] = {slot = slot, size = size}
      one.total = one.total + size
    else
      one.over[#one.over + 1] = known[i]
    end
  end
  table.sort(one, function(a, b) return a.slot < b.slot end)
  users[at] = one
  return one
end
local function add(one)
  if #one == 0 or one[#one].slot ~= this then one[#one + 1] = {slot = this, size = 0} end
  one[#one].size = one[#one].size + 1
  one.total, one.added = one.total + 1, one.added + 1
end
local function wait(one)
  local left = one.total
  for _, of in ipairs(one) do
    left = left - of.size
    if left < limit then return (of.slot + slots + 1) * span - now end
  end
end

local verdicts = {}
for i = 9, #ARGV do
  local one = user(tonumber(ARGV[i]))
  if one.total >= limit then
    verdicts[#verdicts + 1] = math.max(1, math.ceil(wait(one)))
  elseif depth and depth >= most then
    verdicts[#verdicts + 1] = -1
  else
    add(one)
    accepted, depth = accepted + 1, depth and depth + 1
    verdicts[#verdicts + 1] = 0
  end
end
for at, one in pairs(users) do
  if one.added > 0 then
    if #one.over > 0 then redis.call('HDEL', KEYS[at], unpack(one.over)) end
    redis.call('HINCRBY', KEYS[at], whole(this), one.added)
    redis.call('PEXPIRE', KEYS[at], 2 * window)
  end
end

local ask = now - (q[4] or 0) >= tonumber(ARGV[6])
local warn = depth and depth >= tonumber(ARGV[4]) and now - (q[5] or 0) >= tonumber(ARGV[5])
redis.call('HSET', KEYS[1], 'accepted', whole(accepted))
if ask then redis.call('HSET', KEYS[1], 'asked', whole(now)) end
if warn then redis.call('HSET', KEYS[1], 'warned', whole(now)) end
redis.call('EXPIRE', KEYS[1], ARGV[7])
local known = {depth and whole(depth) or '', q[6] or '', q[7] and whole(now - q[7]) or ''}
return {verdicts, known[1], known[2], known[3], whole(now), whole(accepted), ask and 1 or 0, warn and 1 or 0}
"""

# What was drained between two counts is what was let in, less what the depth has grown by.
COUNTED = """
local depth, at, accepted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local q = redis.call('HMGET', KEYS[1], 'depth', 'counted', 'at', 'rate', 'accepted')
if tonumber(q[5] or 0) < accepted then return 0 end
local since = q[3] and at - q[3]
if since and since <= 0 then return 0 end
if since and since > 2 * ARGV[4] then
  redis.call('HDEL', KEYS[1], 'rate') -- too long ago to say how it is now
elseif since and tonumber(q[2]) <= accepted then
  local rate = math.max(0, accepted - q[2] - (depth - q[1])) * 1000 / since
  local share = 1 - math.exp(-since / tonumber(ARGV[4]))
  redis.call('HSET', KEYS[1], 'rate', q[4] and q[4] + share * (rate - q[4]) or rate)
end
redis.call('HSET', KEYS[1], 'depth', ARGV[1], 'counted', ARGV[3], 'at', ARGV[2])
return 1
"""


@dataclass(frozen=True, slots=True)
class Ask:
    """Somebody is to count the queue exactly: asked at `at`, in milliseconds, when so many had been let in."""

    at: int
    accepted: int


@dataclass(frozen=True, slots=True)
class Look:
    """What the broker says to a batch.

    `verdicts`, one an item: 0 lets it in, -1 finds the queue full, and else so many milliseconds must pass first.
    `depth` and `drain`, in requests a second, are None while they are not known, and `is_stale` says that they are
    of a count which nobody should be refused by. `now` is what to ask of whoever counts the queue at once; `ask` is
    None unless it is time for that.
    """

    verdicts: list[int]
    depth: int | None
    drain: float | None
    is_stale: bool
    now: Ask
    ask: Ask | None
    warn: bool


class Tally:
    """The scripts, for one client of the broker. `most` may wait, and `warn_at` that many is worth a warning."""

    def __init__(self, client: redis.Redis, rate: Rate, *, most: int, warn_at: int) -> None:
        self._admit = client.register_script(ADMIT)
        self._counted = client.register_script(COUNTED)
        self._limits = (rate.limit, rate.seconds * 1000, most, warn_at, WARN_EVERY, COUNT_EVERY, KEEP, SLOTS)

    def look(self, users: Sequence[str]) -> Look:
        """Let in what may come in of a batch; `users` are those of its items. Raises redis.RedisError."""
        places = {user: place for place, user in enumerate(dict.fromkeys(users), start=2)}
        keys = [QUEUE, *(f"cite_agent:rate:{user}" for user in places)]
        verdicts, depth, drain, age, at, accepted, asks, warn = self._admit(
            keys=keys, args=[*self._limits, *(places[user] for user in users)]
        )
        now = Ask(int(at), int(accepted))
        return Look(
            verdicts=verdicts,
            depth=int(depth) if depth else None,
            drain=float(drain) if drain else None,
            is_stale=not age or int(age) > COUNT_HOLDS,
            now=now,
            ask=now if asks else None,
            warn=bool(warn),
        )

    def counted(self, depth: int, ask: Ask) -> None:
        """Tell what was counted. A newer count, or an emptied broker, makes it void. Raises redis.RedisError."""
        self._counted(keys=[QUEUE], args=[depth, ask.at, ask.accepted, DRAIN_WINDOW])
