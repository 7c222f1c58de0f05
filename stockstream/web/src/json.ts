/** JSON values, and how a change that was made on an older state is carried over to a newer one. */

export type Json = null | boolean | number | string | Json[] | JsonObject;
export type JsonObject = { [key: string]: Json };

/** Tell whether two values are the same JSON; the order of an object's keys does not matter. */
export function same(a: Json | undefined, b: Json | undefined): boolean {
  if (a === b) return true;
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((value, i) => same(value, b[i]));
  }
  if (!isObject(a) || !isObject(b)) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => key in b && same(a[key], b[key]));
}

/**
 * Carry the change from `base` to `mine` over to `theirs`: the local view of a document whose server
 * side has moved on. What only one side touched is kept; where both touched the same, `mine` wins
 * here, and the server says what holds when it resolves the conflict by its strategy.
 */
export function rebase(base: Json | undefined, mine: Json, theirs: Json | undefined): Json {
  if (theirs === undefined || same(base, theirs)) return mine;
  if (same(base, mine) || same(mine, theirs)) return theirs;
  if (isObject(mine) && isObject(theirs)) return rebaseObject(isObject(base) ? base : {}, mine, theirs);
  if (Array.isArray(mine) && Array.isArray(theirs) && Array.isArray(base)) {
    return rebaseList(base, mine, theirs);
  }
  return mine;
}

function rebaseObject(base: JsonObject, mine: JsonObject, theirs: JsonObject): JsonObject {
  const result: JsonObject = {};
  for (const key of new Set([...Object.keys(theirs), ...Object.keys(mine)])) {
    const value = mine[key];
    if (value !== undefined) {
      // Where they removed it, what only they touched stays away.
      if (!(key in theirs) && same(base[key], value)) continue;
      result[key] = rebase(base[key], value, theirs[key]);
    } else if (!same(base[key], theirs[key])) {
      // We removed it, or never had it; they have changed or added it.
      result[key] = theirs[key] as Json;
    }
  }
  return result;
}

/** Merge lists by element: those with an `id` are told apart by it, others by their value. */
function rebaseList(base: Json[], mine: Json[], theirs: Json[]): Json[] {
  const [before, ours, others] = [byIdentity(base), byIdentity(mine), byIdentity(theirs)];
  if (!before || !ours || !others) return mine;
  const result: Json[] = [];
  for (const [identity, value] of others) {
    const our = ours.get(identity);
    if (our !== undefined) result.push(rebase(before.get(identity), our, value));
    else if (!same(before.get(identity), value)) result.push(value);
  }
  for (const [identity, value] of ours) {
    if (!others.has(identity) && !same(before.get(identity), value)) result.push(value);
  }
  return result;
}

/** Index a list by the identity of its elements; undefined where two have the same. */
function byIdentity(list: Json[]): Map<string, Json> | undefined {
  const found = new Map(list.map((value) => [identityOf(value), value]));
  return found.size === list.length ? found : undefined;
}

function identityOf(value: Json): string {
  return JSON.stringify(isObject(value) && "id" in value ? { id: value["id"] } : value);
}

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
