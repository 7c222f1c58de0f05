/** Brings queued changes to the server, and its documents here; one tab does it for all. */

import { Database, type Conflict, type KnownDocument, type OfflineData, type Stores } from "./database.js";
import { learn, message, nextBatch, relearn, settle, type SyncResult } from "./queue.js";

/** What the sender needs from its owner. */
export interface SenderOptions {
  /** Address of the server, without a slash at the end. */
  url: string;
  /** Name of the lock that the tabs of one user share. */
  lock: string;
  syncBatchSize: number;
  maxRetries: number;
  /** Milliseconds before the first try after a failure; doubled each time, 30 s at most. */
  retryDelay: number;
  /** Milliseconds between two looks at the server where nothing else says that it has news. */
  pollInterval: number;
  headers: () => Promise<Record<string, string>>;
  /** Called after each change of what is stored. */
  changed: (documents: { type: string; documentId: string }[]) => void;
  /** Called with each change that was answered. */
  answered: (item: OfflineData, result: SyncResult) => void;
  /** Called when the server was reached, or was not. */
  reached: (online: boolean) => void;
}

interface Page {
  documents: (Omit<KnownDocument, "data"> & { data?: KnownDocument["data"]; deleted?: boolean })[];
  cursor: string;
  more: boolean;
  /** The server knows the cursor no more: the pages begin anew, and what they don't name is gone. */
  reset?: boolean;
}

type Key = Pick<KnownDocument, "type" | "documentId">;

const REQUEST_TIMEOUT = 15_000;
const LONGEST_DELAY = 30_000;

export class Sender {
  private readonly ending = new AbortController();
  private failures = 0;
  private news = true;
  private wakeUp: () => void = () => undefined;
  private awake = false;
  /** Whether this tab is the one that sends. */
  active = false;

  constructor(
    private readonly database: Database,
    private readonly options: SenderOptions,
  ) {}

  /** Send until `stop`; where another tab sends, wait until it has gone. */
  async run(): Promise<void> {
    const { signal } = this.ending;
    try {
      await navigator.locks.request(this.options.lock, { signal }, async () => {
        this.active = true;
        await this.recall();
        while (!signal.aborted) {
          this.awake = false;
          const delay = await this.round();
          if (!this.awake) await this.pause(delay);
        }
      });
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      this.active = false;
    }
  }

  stop(): void {
    this.ending.abort();
    this.wakeUp();
  }

  /** Look now: something was queued, or the network is back. */
  wake(): void {
    this.awake = true;
    this.wakeUp();
  }

  /** Look now also for what others changed. */
  hasNews(): void {
    this.news = true;
    this.wake();
  }

  /** What was being sent when a tab ended may or may not have arrived; sent again, it counts once. */
  private async recall(): Promise<void> {
    await this.database.write(async ({ queue }) => {
      for (const item of await queue.all<OfflineData>()) {
        if (item.syncStatus === "syncing") await queue.put({ ...item, syncStatus: "pending" });
      }
    });
  }

  /** Do what there is to do; returns the milliseconds until the next look. */
  private async round(): Promise<number> {
    try {
      if (this.news) {
        this.news = false;
        await this.catchUp();
      }
      while (!this.ending.signal.aborted && (await this.sendBatch()));
    } catch (error) {
      if (!(error instanceof Unreached)) throw error;
      this.news = true;
      if (error.offline) this.options.reached(false);
      return Math.max(error.retryAfter, this.backoff());
    }
    this.news = true;
    return this.options.pollInterval;
  }

  private backoff(): number {
    const longest = Math.min(this.options.retryDelay * 2 ** this.failures, LONGEST_DELAY);
    this.failures += 1;
    return longest * (0.5 + Math.random() / 2);
  }

  private async sendBatch(): Promise<boolean> {
    const batch = await this.database.write(async ({ queue }) => {
      const items = nextBatch(await queue.all<OfflineData>(), this.options.syncBatchSize);
      const lastSyncAttempt = Date.now();
      for (const item of items) await queue.put({ ...item, syncStatus: "syncing", lastSyncAttempt });
      return items;
    });
    if (batch.length === 0) return false;
    let results: Map<string, SyncResult>;
    try {
      const answer = await this.request("/api/sync", { items: batch.map(message) });
      results = new Map((answer as { results: SyncResult[] }).results.map((each) => [each.id, each]));
    } catch (error) {
      await this.recall();
      throw error;
    }
    const settled = await this.database.write(async (stores) => {
      const outcomes: [OfflineData, SyncResult][] = [];
      for (const item of batch) {
        const result = results.get(item.id) ?? MISSING;
        const lastSyncAttempt = Date.now();
        const sent = { ...item, lastSyncAttempt };
        outcomes.push([await settle(stores, sent, result, this.options.maxRetries), result]);
      }
      return outcomes;
    });
    this.options.changed(batch);
    for (const [item, result] of settled) this.options.answered(item, result);
    const again = settled.some(([item]) => item.syncStatus === "pending");
    if (again) throw new Unreached("the server could not take everything", false);
    return true;
  }

  /** Learn what has changed since the last time. */
  private async catchUp(): Promise<void> {
    // What happened while everything was read anew comes in a second round.
    while (!this.ending.signal.aborted && (await this.readPages()));
  }

  /** Take in page after page; returns whether it was necessary to begin anew. */
  private async readPages(): Promise<boolean> {
    const mark = await this.database.read(({ meta }) => meta.get<{ cursor: string }>("cursor"));
    let cursor = mark?.cursor;
    let everything: KnownDocument[] | undefined = cursor === undefined ? [] : undefined;
    for (let more = true; more; ) {
      const page = await this.page(cursor);
      if (page === undefined) {
        // The cursor was another user's, or another server's.
        [cursor, everything] = [undefined, []];
        continue;
      }
      if (page.reset) everything = [];
      cursor = page.cursor;
      more = page.more;
      const documents = page.documents.map(({ type, documentId, data, version }) => {
        return { type, documentId, data: data ?? null, version };
      });
      if (everything) everything.push(...documents);
      else await this.learn(cursor, (stores) => learnAll(stores, documents));
    }
    if (!everything) return false;
    const all = everything;
    const { conflicts } = (await this.request("/api/sync/conflicts")) as { conflicts: Conflict[] };
    await this.learn(cursor as string, (stores) => relearn(stores, all, conflicts));
    return true;
  }

  /** Read the page behind a cursor; undefined where the server can't read the cursor. */
  private async page(cursor: string | undefined): Promise<Page | undefined> {
    const since = cursor === undefined ? "" : `&since=${encodeURIComponent(cursor)}`;
    try {
      return (await this.request(`/api/sync?limit=100${since}`)) as Page;
    } catch (error) {
      if (cursor !== undefined && error instanceof Unreached && error.status === 400) return undefined;
      throw error;
    }
  }

  /** Write down documents, and up to where the server's changes are known then. */
  private async learn(cursor: string, take: (stores: Stores) => Promise<Key[]>): Promise<void> {
    const learned = await this.database.write(async (stores) => {
      await stores.meta.put({ name: "cursor", cursor });
      return take(stores);
    });
    if (learned.length > 0) this.options.changed(learned);
  }

  private async request(path: string, body?: object): Promise<unknown> {
    const signal = AbortSignal.any([this.ending.signal, AbortSignal.timeout(REQUEST_TIMEOUT)]);
    let response: Response;
    try {
      const headers = await this.options.headers();
      response = await fetch(this.options.url + path, {
        ...(body ? { method: "POST", body: JSON.stringify(body) } : {}),
        headers: { ...headers, ...(body ? { "Content-Type": "application/json" } : {}) },
        signal,
      });
      if (response.ok) {
        const answer: unknown = await response.json();
        this.failures = 0;
        this.options.reached(true);
        return answer;
      }
    } catch (error) {
      throw new Unreached(String(error), true);
    }
    this.options.reached(true);
    const seconds = Number(response.headers.get("Retry-After"));
    const { status } = response;
    throw new Unreached(`the server answered ${status}`, false, seconds * 1000 || 0, status);
  }

  private pause(milliseconds: number): Promise<void> {
    if (this.ending.signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.wakeUp = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

async function learnAll(stores: Stores, documents: KnownDocument[]): Promise<Key[]> {
  const fresh: Key[] = [];
  for (const document of documents) {
    if (await learn(stores, document)) fresh.push(document);
  }
  return fresh;
}

/** What counts as the answer to a change that the server said nothing of. */
const MISSING: SyncResult = {
  id: "",
  success: false,
  status: "refused",
  error: { code: "unavailable", message: "the server did not answer for this change" },
};

/** The request as a whole came to nothing; what was to be sent is sent again. */
class Unreached extends Error {
  constructor(
    text: string,
    /** Whether there was no answer at all. */
    readonly offline: boolean,
    /** Milliseconds that the server asks to wait. */
    readonly retryAfter = 0,
    /** Of the answer to the whole request. */
    readonly status?: number,
  ) {
    super(text);
  }
}
