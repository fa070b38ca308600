import {scriptOf} from "./redis-keys.js";

/** Scripts that ask the server without reading objects' bytes. All but the first two give only `torn` if the store is torn. */

/** For each of the names its holders and its bytes; nothing where the bytes are not there. */
export const storedScript = scriptOf(`
local found, lost = {}, trust() == 'lost'
for at, name in ipairs(ARGV) do
    if redis.call('HEXISTS', values, name) == 1 then
        local holding = redis.call('HGET', holdings, name)
        found[at] = (not lost and holding and string.match(holding, '%d+') or 'Infinity') .. ' ' .. redis.call('HSTRLEN', values, name)
    else
        found[at] = false
    end
end
return found
`);

/** Lives of the entries and of the objects. */
export const livesScript = scriptOf(`
return {life(entries), life(values)}
`);

/** Keys of entries in order, between two, and at most so many. */
export const keysScript = scriptOf(`
local found = state()
if found == 'torn' then return {found} end
return {found, redis.call('ZRANGEBYLEX', names, ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])}
`);

/** Some of the stored objects: how far counts can be trusted, the next cursor, and names with holders and bytes. */
export const inventoryScript = scriptOf(`
local found = state()
if found == 'torn' then return {found} end
local page, items = redis.call('HSCAN', holdings, ARGV[1], 'COUNT', ARGV[2]), {}
for at = 1, #page[2], 2 do
    local name = page[2][at]
    if name ~= '\\255' and redis.call('HEXISTS', values, name) == 1 then
        items[#items + 1] = name
        items[#items + 1] = page[2][at + 1]
    end
end
return {found, trust(), page[1], items}
`);

/** How far counts can be trusted, and the bytes of all values. */
export const totalScript = scriptOf(`
local found = state()
if found == 'torn' then return {found} end
return {found, trust(), redis.call('GET', total) or '0'}
`);
