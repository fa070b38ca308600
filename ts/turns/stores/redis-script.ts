import {scriptOf} from "./redis-keys.js";
import type {Step} from "./snapshot-store.js";

/**
 * A step as the server runs it: nobody sees, or gets, half of one. Everything is looked up before anything is written, and what Redis refuses
 * to write for want of memory, or of a disk, it refuses at a script's first write. The lists come one after the other, each with its length.
 * Gives the lives of the entries and of the objects that it was done to.
 *
 * An object is stored if its bytes are. Holders of bytes that were evicted are still counted: whoever brings the bytes brings them for all.
 * Where counts were lost, no release and no sweep drops bytes, as others may need them: not of objects that are brought later either, as
 * conversations from before may hold those.
 */
export const stepScript = scriptOf(`
if state() ~= 'whole' then return {'torn'} end
local counts = trust() ~= 'lost'
local at = 0
local function take()
    at = at + 1
    return ARGV[at]
end
local function takeList(each)
    for _ = 1, tonumber(take()) do each(take()) end
end

local changed
takeList(function(key)
    local exists, value = take(), take()
    local found = redis.call('HGET', entries, key)
    if not changed and ((exists == '1' and found ~= value) or (exists == '0' and found)) then changed = key end
end)
if changed then return {'changed', changed} end

local brought, counted, order, missing, isMissing = {}, {}, {}, {'missing'}, {}
local function count(name)
    local object = counted[name]
    if object then return object end
    local held, stored = redis.call('HGET', holdings, name), redis.call('HEXISTS', values, name) == 1
    if not held and not stored and not brought[name] then return nil end
    local holders, bytes = string.match(held or '0 ' .. redis.call('HSTRLEN', values, name), '^(%d+) (%d+)$')
    object = {name = name, stored = stored, before = tonumber(holders), holders = tonumber(holders), bytes = tonumber(bytes), gone = false}
    counted[name] = object
    order[#order + 1] = object
    return object
end
takeList(function(name)
    local value = take()
    brought[name] = brought[name] or value
    count(name)
end)
local replaced = {}
takeList(function(name)
    replaced[name] = take()
    count(name)
end)
takeList(function(name)
    local object = count(name)
    if object and (object.stored or brought[name]) then
        object.holders = object.holders + 1
    elseif not isMissing[name] then
        isMissing[name] = true
        missing[#missing + 1] = name
    end
end)
if #missing > 1 then return missing end
takeList(function(name)
    local object = count(name)
    if object and not object.gone then
        object.holders = math.max(object.holders - 1, 0)
        object.gone = counts and object.holders == 0
    end
end)
takeList(function(name)
    local object = count(name)
    if object and counts and object.holders == 0 then object.gone = true end
end)

local change = 0
takeList(function(key)
    local value = take()
    change = change + #value - redis.call('HSTRLEN', entries, key)
    if redis.call('HSET', entries, key, value) == 1 then redis.call('ZADD', names, 0, key) end
end)
takeList(function(key)
    change = change - redis.call('HSTRLEN', entries, key)
    if redis.call('HDEL', entries, key) == 1 then redis.call('ZREM', names, key) end
end)
for _, object in ipairs(order) do
    local name = object.name
    if object.gone then
        redis.call('HDEL', values, name)
        redis.call('HDEL', holdings, name)
        change = change - object.bytes
    else
        local bytes, value = object.bytes, nil
        if object.stored then value = replaced[name] else value = brought[name] end
        if value then
            bytes = #value
            redis.call('HSET', values, name, value)
            change = change + bytes - object.bytes
        end
        if value or object.holders ~= object.before then redis.call('HSET', holdings, name, string.format('%.0f %.0f', object.holders, bytes)) end
    end
end
if change ~= 0 then redis.call('INCRBY', total, string.format('%.0f', change)) end
return {'done', life(entries), life(values)}
`);

export function stepArguments(step: Step): (string | Buffer)[] {
    const list = <T>(items: readonly T[] | undefined, argumentsOf: (item: T) => (string | Buffer)[]) =>
        [String(items?.length ?? 0), ...(items ?? []).flatMap(argumentsOf)];
    const pair = ([name, value]: readonly [string, Uint8Array]) => [name, bufferOf(value)];
    const one = (name: string) => [name];
    return [
        ...list(step.expect, ([key, value]) => [key, value === null ? "0" : "1", value === null ? "" : bufferOf(value)]),
        ...list(step.objects, pair), ...list(step.replace, pair), ...list(step.retain, one), ...list(step.release, one), ...list(step.sweep, one), ...list(step.put, pair), ...list(step.delete, one)
    ];
}

function bufferOf({buffer, byteOffset, byteLength}: Uint8Array): Buffer {
    return Buffer.from(buffer, byteOffset, byteLength);
}
