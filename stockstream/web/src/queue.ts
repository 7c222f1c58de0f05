/** The rules of the queue: what is sent next, what an answer means, what the user sees meanwhile. */

import type { Conflict, DataVersion, KnownDocument, OfflineData, Stores } from "./database.js";
import { rebase, type JsonObject } from "./json.js";

/** What the server says of one change. */
export interface SyncResult {
  id: string;
  success: boolean;
  status: "applied" | "merged" | "duplicate" | "superseded" | "conflict" | "refused";
  version?: DataVersion;
  data?: JsonObject;
  deleted?: boolean;
  unmerged?: { path: string; client: unknown; server: unknown }[];
  conflict?: Omit<Conflict, "type" | "documentId">;
  error?: { code: string; message: string };
}

/** Codes of errors after which the same change may be taken later. */
const RETRYABLE = new Set(["unavailable", "rate_limited"]);

/** Return the document as the user sees it: the server's, and upon it what is queued. */
export function view(known: KnownDocument | undefined, items: OfflineData[]): JsonObject | null {
  return items
    .filter((item) => item.error === undefined)
    .reduce<JsonObject | null>((seen, item) => carried(item, seen), known?.data ?? null);
}

/** What a page was given of a document. */
export interface Seen {
  data: JsonObject | null;
  /** The server's version of it, 0 where there was none; undefined where queued changes are part of it. */
  version?: number;
}

/** Return what a page is given of a document. */
export function seen(known: KnownDocument | undefined, items: OfflineData[]): Seen {
  const data = view(known, items);
  const isServers = items.every((item) => item.error !== undefined);
  return isServers ? { data, version: known?.version.version ?? 0 } : { data };
}

/** Return what is queued of a change that a page has made on what it saw, whatever has come since. */
export function changed(
  known: KnownDocument | undefined,
  items: OfflineData[],
  data: JsonObject | null,
  saw: Seen | undefined,
): Pick<OfflineData, "data" | "base" | "baseVersion"> {
  const now = seen(known, items);
  const baseVersion = known?.version.version ?? 0;
  if (saw?.version !== undefined && now.version !== undefined && saw.version < now.version) {
    // Others have changed it meanwhile: the server merges both.
    return { data, base: saw.data, baseVersion: saw.version };
  }
  return { data: saw ? carried({ data, base: saw.data }, now.data) : data, base: now.data, baseVersion };
}

/** Return what may be sent now: the first change of each document, unless one failed before it. */
export function nextBatch(items: OfflineData[], size: number): OfflineData[] {
  const heads = new Map<string, OfflineData>();
  for (const item of items) {
    const key = keyOf(item);
    // What was refused holds up nobody; what may yet be taken keeps its place.
    if (!heads.has(key) && !isRefused(item)) heads.set(key, item);
  }
  return [...heads.values()].filter((item) => item.syncStatus !== "failed").slice(0, size);
}

/** Return a change as it is sent. */
export function message(item: OfflineData): JsonObject {
  const { id, type, documentId, timestamp, baseVersion, strategy, resolves } = item;
  return {
    ...{ id, type, documentId, timestamp, baseVersion },
    ...(item.data === null ? { deleted: true } : { data: item.data }),
    ...(strategy === undefined ? {} : { strategy }),
    ...(resolves === undefined ? {} : { resolves }),
  };
}

/** Write down what an answer means; returns the change as it stands then. */
export async function settle(
  stores: Stores,
  item: OfflineData,
  result: SyncResult,
  maxRetries: number,
): Promise<OfflineData> {
  if (result.success && result.version) {
    return succeed(stores, item, result, result.version);
  }
  if (result.conflict) {
    const { type, documentId } = item;
    await stores.conflicts.put({ ...result.conflict, type, documentId });
    await release(stores, item, result.conflict.serverData, item.baseVersion);
    const error = { code: "conflict", message: "both sides changed it: decide with resolve()" };
    return { ...item, syncStatus: "failed", error };
  }
  return fail(stores, item, result.error ?? { code: "refused", message: "refused" }, maxRetries);
}

/** Take in a document as the server has it, unless a newer one is known. */
export async function learn(stores: Stores, document: KnownDocument): Promise<boolean> {
  const known = await stores.documents.get<KnownDocument>([document.type, document.documentId]);
  if (known && !isNewer(document.version, known.version)) return false;
  await stores.documents.put(document);
  return true;
}

/** Take in all that the server has: what it does not name is gone. Returns what was and what is known. */
export async function relearn(
  stores: Stores,
  documents: KnownDocument[],
  conflicts: Conflict[],
): Promise<Pick<KnownDocument, "type" | "documentId">[]> {
  const before = await stores.documents.all<KnownDocument>();
  await stores.documents.clear();
  // What was changed while the pages were read is in them twice, the newer one behind.
  const held = new Map(documents.map((document) => [keyOf(document), document]));
  for (const document of held.values()) await stores.documents.put(document);
  await stores.conflicts.clear();
  for (const conflict of conflicts) await stores.conflicts.put(conflict);
  const begun = new Set<string>();
  for (const item of await stores.queue.all<OfflineData>()) {
    const key = keyOf(item);
    const there = held.get(key);
    const baseVersion = there?.version.version ?? 0;
    // Those behind the first one are put upon what becomes of it.
    const base = begun.has(key) ? item.base : (there?.data ?? null);
    if (!isRefused(item)) begun.add(key);
    // A server that has lost what it was made on gets it as it is.
    if (item.baseVersion > baseVersion) await stores.queue.put({ ...item, base, baseVersion });
  }
  return [...before.filter((document) => !held.has(keyOf(document))), ...held.values()];
}

async function succeed(
  stores: Stores,
  item: OfflineData,
  result: SyncResult,
  version: DataVersion,
): Promise<OfflineData> {
  const { type, documentId } = item;
  const data = result.deleted ? null : (result.data ?? item.data);
  await learn(stores, { type, documentId, data, version });
  if (item.resolves !== undefined) await stores.conflicts.delete(item.resolves);
  await release(stores, item, data, version.version);
  return { ...item, syncStatus: "synced" };
}

async function fail(
  stores: Stores,
  item: OfflineData,
  error: { code: string; message: string },
  maxRetries: number,
): Promise<OfflineData> {
  const retryCount = item.retryCount + 1;
  const isLost = isAboutItsBase(error);
  // Without a cursor everything is read anew.
  if (isLost) await stores.meta.delete("cursor");
  if (isLost || RETRYABLE.has(error.code)) {
    const syncStatus = retryCount > maxRetries ? "failed" : "pending";
    const waiting: OfflineData = { ...item, syncStatus, retryCount };
    await stores.queue.put(waiting);
    return waiting;
  }
  // What was made on it goes on without it.
  await release(stores, item, item.base, item.baseVersion);
  const refused: OfflineData = { ...item, syncStatus: "failed", retryCount, error };
  await stores.queue.put(refused);
  return refused;
}

/** Remove a change, and put the next ones of its document upon what holds now. */
async function release(
  stores: Stores,
  item: OfflineData,
  holds: JsonObject | null,
  version: number,
): Promise<void> {
  await stores.queue.delete(item.order);
  const rest = await stores.queue.ofDocument<OfflineData>(item.type, item.documentId);
  let base = holds;
  for (const later of rest.filter((each) => each.order > item.order && !isRefused(each))) {
    const data = carried(later, base);
    await stores.queue.put({ ...later, data, base, baseVersion: version });
    base = data;
  }
}

function carried({ data, base }: Pick<OfflineData, "data" | "base">, onto: JsonObject | null): JsonObject | null {
  if (data === null || onto === null) return data;
  return rebase(base ?? undefined, data, onto) as JsonObject;
}

function isRefused(item: OfflineData): boolean {
  return item.syncStatus === "failed" && item.error !== undefined;
}

/** Whether a server has lost the version that a change was made on, a restored one perhaps. */
function isAboutItsBase(error: { code: string; message: string }): boolean {
  return error.code === "invalid_payload" && error.message.startsWith("baseVersion: ");
}

/** Numbers of versions begin anew where a deletion is forgotten, or the whole database; time does not. */
function isNewer(one: DataVersion, other: DataVersion): boolean {
  return one.timestamp === other.timestamp ? one.version > other.version : one.timestamp > other.timestamp;
}

export function keyOf({ type, documentId }: { type: string; documentId: string }): string {
  return JSON.stringify([type, documentId]);
}
