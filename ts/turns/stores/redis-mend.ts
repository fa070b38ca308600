import {createHash} from "node:crypto";
import {scriptOf} from "./redis-keys.js";
import type {Held} from "./snapshot-store.js";

/**
 * Makes the five keys agree again after a server has dropped some, in time with what there is. Its argument is the life of what begins anew.
 * Gives what was found, as `state` does. What was dropped, and what becomes of it:
 * - `names` and `total` follow from the others.
 * - `entries`: nobody is left who holds anything, so nobody does, and what is swept goes.
 * - `objects`: their holders stay counted. Records of turns are objects, and what these held is never released now: counts may be too high.
 * - `holdings`: every object is held by nobody knows how many, until `recountScript` is told. That is so even where the objects are gone, too:
 *   those that are brought again may be held by any conversation that is left.
 */
export const mendScript = scriptOf(`
local found = state()
if found == 'whole' then return {found} end
local entriesLife, holdingsLife, objectsLife = life(entries), life(holdings), life(values)
local keys = fields(entries)
local objects = redis.call('HLEN', values)
if not entriesLife and not holdingsLife and not objectsLife and objects > 0 and redis.call('HLEN', holdings) == objects then
    holdingsLife, objectsLife = ARGV[1], ARGV[1]  -- a build before there were lives wrote it, and counted right
end
entriesLife = entriesLife or ARGV[1]
if #keys == 0 then
    holdingsLife = entriesLife
elseif holdingsLife == entriesLife and not objectsLife then
    holdingsLife = entriesLife .. '+'
end

local bytes = 0
redis.call('DEL', names)  -- comes first: a full server refuses a script whose first write is another
for _, key in ipairs(keys) do
    bytes = bytes + redis.call('HSTRLEN', entries, key)
    redis.call('ZADD', names, 0, key)
end
local holders, held = {}, redis.call('HGETALL', holdings)
for at = 1, #held, 2 do holders[held[at]] = #keys > 0 and string.match(held[at + 1], '^(%d+) %d+$') or nil end
redis.call('DEL', holdings)
for _, name in ipairs(fields(values)) do
    local length = redis.call('HSTRLEN', values, name)
    bytes = bytes + length
    redis.call('HSET', holdings, name, string.format('%s %.0f', holders[name] or '0', length))
    holders[name] = nil
end
for name, count in pairs(holders) do
    if count ~= '0' then redis.call('HSET', holdings, name, count .. ' 0') end
end
redis.call('HSET', entries, '\\255', entriesLife)
redis.call('HSET', values, '\\255', objectsLife or ARGV[1])
redis.call('HSET', holdings, '\\255', holdingsLife or '')
redis.call('SET', total, string.format('%.0f', bytes))
return {found}
`);

/**
 * Counts the holders of all objects as it is told, if the entries are those, and no others, that it was counted by. What has bytes and no holder
 * can be swept then.
 */
export const recountScript = scriptOf(`
if state() ~= 'whole' then return {'torn'} end
local at = 0
local function take()
    at = at + 1
    return ARGV[at]
end
local entriesThere = tonumber(take())
if redis.call('HLEN', entries) - 1 ~= entriesThere then return {'changed'} end
for _ = 1, entriesThere do
    local value, hash = redis.call('HGET', entries, take()), take()
    if not value or redis.sha1hex(value) ~= hash then return {'changed'} end
end
local holders = {}
while at < #ARGV do holders[take()] = take() end
redis.call('DEL', holdings)  -- comes first, as above
for _, name in ipairs(fields(values)) do
    redis.call('HSET', holdings, name, string.format('%s %.0f', holders[name] or '0', redis.call('HSTRLEN', values, name)))
    holders[name] = nil
end
for name, count in pairs(holders) do redis.call('HSET', holdings, name, count .. ' 0') end
redis.call('HSET', holdings, '\\255', life(entries))
return {'done'}
`);

export function recountArguments({entries, holders}: Held): string[] {
    return [
        String(entries.length), ...entries.flatMap(([key, value]) => [key, createHash("sha1").update(value).digest("hex")]),
        ...[...holders].flatMap(([name, count]) => [name, String(count)])
    ];
}
