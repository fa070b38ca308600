import {formatBytes} from "./bytes.js";
import {coldWarnings} from "./cold.js";
import {problem} from "./schema-problems.js";
import {bitsOf, tiersBeside, type Policy, type Rule, type Tier} from "./tiers.js";

const leastUsefulLimit = 2 ** 20;

/** What a valid policy says in vain, for contexts of its default tier. A sentence each, as for mistakes. */
export function policyWarnings(policy: Policy): string[] {
    const {rules, pressure, poolLimitBytes} = policy, own = policy.tiers.get(policy.defaultTier)!, pressed = pressure?.tiers ?? [];
    const possible = new Set([own, ...tiersBeside(own, policy)]), impossible = `can't be had in a context of the default tier "${own.name}", which has only F16 tiers`;
    const warnings: string[] = [], starts = [own];
    for (const [index, rule] of rules.entries()) {
        const first = rules.findIndex((other) => possible.has(other.tier) && fitsWhenever(other, rule));
        if (!possible.has(rule.tier)) warnings.push(problem(`/rules/${index}/tier`, rule.tier.name, impossible));
        else if (first === index) starts.push(rule.tier);
        else warnings.push(problem(`/rules/${index}`, {...rule, tier: rule.tier.name}, `never applies, because /rules/${first} fits whenever it does`));
    }
    const reached = reachedByPressure(starts, pressed.filter((tier) => possible.has(tier)));
    for (const [index, tier] of pressed.entries()) {
        if (!reached.has(tier))
            warnings.push(problem(`/pool/pressure/tiers/${index}`, tier.name, possible.has(tier)
                ? "is skipped, because sequences get only tiers that are smaller than the one they have; order them from large to small" : impossible));
    }
    if (poolLimitBytes > 0 && poolLimitBytes < leastUsefulLimit)
        warnings.push(`/pool/limit: ${formatBytes(poolLimitBytes)} can hold next to nothing. A context without room for one token is refused when it is created.`);
    if (policy.turns !== null) warnings.push(...coldWarnings(policy.turns.cold, policy.turns.ttl));
    return warnings;
}

function fitsWhenever(one: Rule, other: Rule): boolean {
    const prefix = one.name.endsWith("*") ? one.name.slice(0, -1) : null;
    const named = one.name === "*" || one.name === other.name || (prefix !== null && other.name !== "*" && other.name.startsWith(prefix));
    return named && one.tokens <= other.tokens;
}

/** The tiers that pressure can give to sequences that start with these, as SequenceTiers goes from one to the next. */
function reachedByPressure(starts: readonly Tier[], tiers: readonly Tier[]): Set<Tier> {
    const reached = new Set<Tier>();
    for (let tier of starts) {
        const next = () => tiers.slice(tiers.indexOf(tier) + 1).find((other) => bitsOf(other) < bitsOf(tier));
        for (let following; (following = next()) !== undefined; tier = following) reached.add(following);
    }
    return reached;
}
