/** Documents that can be changed without a network (section 5 of the documented design). */

import { Database, type Conflict, type KnownDocument, type OfflineData } from "./database.js";
import { Emitter } from "./events.js";
import type { JsonObject } from "./json.js";
import { changed, keyOf, learn, seen, type Seen, type SyncResult } from "./queue.js";
import { Sender } from "./sender.js";

/** What happens; the names are those of the documented design. */
export type OfflineEvents = {
  /** What the user sees of a document has changed: here, in another tab, or on another device. */
  changed: { type: string; documentId: string };
  /** A change was taken; `result.unmerged` says what of it could not be merged. */
  sync_success: { item: OfflineData; result: SyncResult };
  /** A change was refused, is in conflict, or was put off: `item.syncStatus` is `pending` where it is tried again. */
  sync_error: { item: OfflineData; result: SyncResult };
  online_status_changed: { online: boolean };
};

/** The part of a Socket.IO client that is needed to hear at once what other devices change. */
export interface LiveSocket {
  on(event: string, listener: (...args: never[]) => void): unknown;
  off(event: string, listener: (...args: never[]) => void): unknown;
  emit(event: string, ...args: unknown[]): unknown;
  readonly connected: boolean;
}

export interface OfflineOptions {
  /** Address of the server; without it the page's own. */
  url?: string;
  /** Whose documents these are: each user has a queue of his own in this browser. */
  user?: string;
  /** The user's token, or what gets a fresh one. */
  token?: string | (() => Promise<string>);
  /** Brings news of other devices at once, such as `StockClient.socket`. */
  socket?: LiveSocket;
  syncBatchSize?: number;
  maxRetries?: number;
  /** Milliseconds. */
  retryDelay?: number;
  /** Milliseconds between two looks for news where no socket brings them. */
  pollInterval?: number;
  /** Strategy of changes that name none; without it the server's own for the type. */
  conflictResolution?: string;
  /** Most changes that may wait. */
  messageQueueSize?: number;
}

/** More changes wait than may. */
export class QueueFullError extends Error {}

/**
 * Changes of documents, kept in this browser until the server has them.
 *
 * A change is kept as soon as `save` or `remove` resolves: it survives a reload and a crash, and is
 * brought to the server in order, once, by one tab of all that are open. `get` and `list` show
 * changes at once, and take back those that the server refuses.
 */
export class OfflineDataManager extends Emitter<OfflineEvents> {
  private readonly channel: BroadcastChannel;
  private readonly sender: Sender;
  private readonly running: Promise<void>;
  private online = navigator.onLine;
  /** What this page was given last of each document, or has saved since. */
  private readonly saw = new Map<string, Seen>();

  private constructor(
    name: string,
    private readonly database: Database,
    private readonly options: OfflineOptions,
  ) {
    super();
    const { url = location.origin, syncBatchSize = 20, maxRetries = 5 } = options;
    const { retryDelay = 1_000, pollInterval = 30_000 } = options;
    this.channel = new BroadcastChannel(name);
    this.channel.onmessage = ({ data }: MessageEvent<[keyof OfflineEvents | "nudge", never]>) => this.hear(...data);
    this.sender = new Sender(database, {
      ...{ url: url.replace(/\/$/, ""), lock: name },
      ...{ syncBatchSize, maxRetries, retryDelay, pollInterval },
      headers: () => this.headers(),
      changed: (documents) => documents.forEach((document) => this.tell("changed", pick(document))),
      answered: (item, result) =>
        this.tell(item.syncStatus === "synced" ? "sync_success" : "sync_error", { item, result }),
      reached: (online) => this.setOnline(online),
    });
    addEventListener("online", this.networkBack);
    addEventListener("offline", this.networkGone);
    options.socket?.on("connect", this.socketConnected);
    options.socket?.on("document_changed", this.documentChanged);
    if (options.socket?.connected) this.socketConnected();
    this.running = this.sender.run();
  }

  /** Open what this browser holds for a user, and begin to bring it over. */
  static async open(options: OfflineOptions = {}): Promise<OfflineDataManager> {
    const name = `stockstream:${options.url ?? location.origin}:${options.user ?? ""}`;
    return new OfflineDataManager(name, await Database.open(name), options);
  }

  /** Let go of everything; what waits is sent next time. */
  async close(): Promise<void> {
    removeEventListener("online", this.networkBack);
    removeEventListener("offline", this.networkGone);
    this.options.socket?.off("connect", this.socketConnected);
    this.options.socket?.off("document_changed", this.documentChanged);
    this.sender.stop();
    await this.running;
    this.channel.close();
    this.database.close();
  }

  /**
   * Change or create a document; returns the id of the change once it is safely stored.
   *
   * It counts as a change of what `get` or `list` gave last: what others have made of it since is kept.
   */
  async save(type: string, documentId: string, data: JsonObject, strategy?: string): Promise<string> {
    return this.change(type, documentId, structuredClone(data), strategy);
  }

  /** Delete a document. */
  async remove(type: string, documentId: string, strategy?: string): Promise<string> {
    return this.change(type, documentId, null, strategy);
  }

  /** Return a document as the user sees it, queued changes included; null where there is none. */
  async get(type: string, documentId: string): Promise<JsonObject | null> {
    const [known, queued] = await this.database.read(async ({ documents, queue }) => [
      await documents.get<KnownDocument>([type, documentId]),
      await queue.ofDocument<OfflineData>(type, documentId),
    ]);
    return this.given({ type, documentId }, seen(known, queued));
  }

  /** Return all documents of a type as the user sees them, by id. */
  async list(type: string): Promise<Map<string, JsonObject>> {
    const [known, queued] = await this.database.read(async ({ documents, queue }) => [
      await documents.all<KnownDocument>(),
      await queue.all<OfflineData>(),
    ]);
    const ids = new Set([...known, ...queued].filter((e) => e.type === type).map((e) => e.documentId));
    const found = new Map<string, JsonObject>();
    for (const id of ids) {
      const mine = (each: KnownDocument | OfflineData) => each.type === type && each.documentId === id;
      const data = this.given({ type, documentId: id }, seen(known.find(mine), queued.filter(mine)));
      if (data !== null) found.set(id, data);
    }
    return found;
  }

  /** Return the conflicts that wait for the user. */
  async conflicts(): Promise<Conflict[]> {
    return this.database.read(({ conflicts }) => conflicts.all<Conflict>());
  }

  /** Decide a conflict: `data` is what the document shall be, null deletes it. */
  async resolve(conflictId: string, data: JsonObject | null): Promise<string> {
    const conflict = (await this.conflicts()).find((each) => each.conflictId === conflictId);
    if (!conflict) throw new RangeError(`there is no conflict ${conflictId}`);
    return this.queue(conflict.type, conflict.documentId, data, undefined, { resolves: conflictId });
  }

  /** Return the changes that wait or have failed, in order (documented). */
  async getOfflineQueue(): Promise<OfflineData[]> {
    return this.database.read(({ queue }) => queue.all<OfflineData>());
  }

  async getPendingSyncCount(): Promise<number> {
    return (await this.getOfflineQueue()).filter((item) => item.syncStatus !== "failed").length;
  }

  async getFailedSyncCount(): Promise<number> {
    return (await this.getOfflineQueue()).filter((item) => item.syncStatus === "failed").length;
  }

  /** Try again what has failed (documented). */
  async retryFailedSyncs(): Promise<void> {
    await this.database.write(async ({ queue }) => {
      for (const { error: _, ...item } of await queue.all<OfflineData>()) {
        if (item.syncStatus !== "failed") continue;
        await queue.put({ ...item, syncStatus: "pending", retryCount: 0 });
      }
    });
    this.nudge();
  }

  /** Give up a change that has failed. */
  async removeFromOfflineQueue(id: string): Promise<void> {
    const removed = await this.database.write(async ({ queue }) => {
      const items = await queue.all<OfflineData>();
      const item = items.find((each) => each.id === id && each.syncStatus === "failed");
      if (item) await queue.delete(item.order);
      return item;
    });
    if (removed) this.tell("changed", pick(removed));
  }

  /** Whether the server was reached last. */
  get isOnline(): boolean {
    return this.online;
  }

  /** Whether this is the tab that sends for all. */
  get isSender(): boolean {
    return this.sender.active;
  }

  /** Note what the page is about to be given, which may change its copy. */
  private given(document: Pick<KnownDocument, "type" | "documentId">, what: Seen): JsonObject | null {
    this.saw.set(keyOf(document), structuredClone(what));
    return what.data;
  }

  private async change(type: string, documentId: string, data: JsonObject | null, strategy?: string): Promise<string> {
    const key = keyOf({ type, documentId });
    const saw = this.saw.get(key);
    this.saw.set(key, { data });
    try {
      return await this.queue(type, documentId, data, strategy, { saw });
    } catch (error) {
      this.saw.delete(key);
      throw error;
    }
  }

  private async queue(
    type: string,
    documentId: string,
    data: JsonObject | null,
    strategy = this.options.conflictResolution,
    { saw, resolves }: { saw?: Seen | undefined; resolves?: string } = {},
  ): Promise<string> {
    const id = crypto.randomUUID();
    await this.database.write(async (stores) => {
      const limit = this.options.messageQueueSize ?? 10_000;
      if ((await stores.queue.all()).length >= limit) throw new QueueFullError(`${limit} changes wait`);
      const known = await stores.documents.get<KnownDocument>([type, documentId]);
      const earlier = await stores.queue.ofDocument<OfflineData>(type, documentId);
      const item: Omit<OfflineData, "order"> = {
        ...{ id, type, documentId },
        ...changed(known, earlier, data, saw),
        ...(strategy === undefined ? {} : { strategy }),
        ...(resolves === undefined ? {} : { resolves }),
        timestamp: Date.now(),
        syncStatus: "pending",
        retryCount: 0,
      };
      await stores.queue.put(item);
    });
    this.tell("changed", { type, documentId });
    this.nudge();
    return id;
  }

  /** Have the sender look, whichever tab it is in. */
  private nudge(): void {
    this.sender.wake();
    this.channel.postMessage(["nudge", null]);
  }

  private tell<Name extends keyof OfflineEvents>(name: Name, detail: OfflineEvents[Name]): void {
    this.emit(name, detail);
    this.channel.postMessage([name, detail]);
  }

  private hear(event: keyof OfflineEvents | "nudge", detail: never): void {
    if (event === "nudge") this.sender.wake();
    else if (event === "online_status_changed") this.setOnline((detail as { online: boolean }).online);
    else this.emit(event, detail);
  }

  private setOnline(online: boolean): void {
    if (online === this.online) return;
    this.online = online;
    const detail = { online };
    this.emit("online_status_changed", detail);
    if (this.sender.active) this.channel.postMessage(["online_status_changed", detail]);
  }

  private async headers(): Promise<Record<string, string>> {
    const { token } = this.options;
    const text = typeof token === "function" ? await token() : token;
    return text === undefined ? {} : { Authorization: `Bearer ${text}` };
  }

  private readonly networkBack = (): void => this.sender.hasNews();

  private readonly networkGone = (): void => this.setOnline(false);

  private readonly socketConnected = (): void => {
    this.options.socket?.emit("subscribe", { events: ["document_changed"] });
    this.sender.hasNews();
  };

  private readonly documentChanged = ({ payload }: { payload: KnownDocument }): void => {
    if (!this.sender.active) return;
    const { type, documentId, data = null, version } = payload;
    const document = { type, documentId, data, version };
    this.database
      .write((stores) => learn(stores, document))
      .then((fresh) => fresh && this.tell("changed", pick(document)))
      // The next look at the server brings it.
      .catch(() => this.sender.hasNews());
  };
}

function pick({ type, documentId }: { type: string; documentId: string }) {
  return { type, documentId };
}
