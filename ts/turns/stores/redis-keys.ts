import {createHash} from "node:crypto";

/** A script, and the server's name for it. */
export interface RedisScript {
    readonly text: string;
    readonly hash: string;
}

/**
 * What all scripts begin with. A server that evicts drops whole keys, and the others stay. Each hash has a field that no name is, as names are UTF-8 (`life`), so it is
 * known when the hash was dropped and began anew. That of `holdings` says how far its counts can be trusted:
 * - as that of `entries`: they are right;
 * - the same with a `+`: they may be too high, as records were lost, and nobody can tell what these held;
 * - anything else: they were lost, and entries are left that hold nobody knows what.
 *
 * `whole`: nothing was dropped since somebody mended. `empty`: there is nothing. `torn`: to be mended before anything is looked up or written.
 */
const prelude = `
local entries, names, values, holdings, total = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local function life(key) return redis.call('HGET', key, '\\255') end
local function state()
    if life(entries) and life(values) and life(holdings) and redis.call('EXISTS', total) == 1
        and redis.call('ZCARD', names) == redis.call('HLEN', entries) - 1 then return 'whole' end
    return redis.call('EXISTS', entries, names, values, holdings, total) == 0 and 'empty' or 'torn'
end
local function trust()
    local right, found = life(entries), life(holdings)
    if found == right then return 'right' end
    return right and found == right .. '+' and 'enough' or 'lost'
end
local function fields(key)
    local found = {}
    for _, field in ipairs(redis.call('HKEYS', key)) do
        if field ~= '\\255' then found[#found + 1] = field end
    end
    return found
end
`;

export function scriptOf(body: string): RedisScript {
    const text = prelude + body;
    return {text, hash: createHash("sha1").update(text).digest("hex")};
}
