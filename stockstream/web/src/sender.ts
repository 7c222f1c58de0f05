/** Brings queued changes to the server, and its documents here; one tab does it for all. */

import { Database, type KnownDocument, type OfflineData } from "./database.js";
import { learn, message, nextBatch, settle, type SyncResult } from "./queue.js";

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

  /** Learn what has changed since the last time, page by page. */
  private async catchUp(): Promise<void> {
    let more = true;
    while (more && !this.ending.signal.aborted) {
      const mark = await this.database.read(({ meta }) => meta.get<{ cursor: string }>("cursor"));
      const since = mark ? `&since=${encodeURIComponent(mark.cursor)}` : "";
      const page = (await this.request(`/api/sync?limit=100${since}`)) as Page;
      const learned = await this.database.write(async (stores) => {
        const fresh: Pick<KnownDocument, "type" | "documentId">[] = [];
        if (page.reset) {
          // Versions may have begun anew as well, so nothing of it can be compared.
          fresh.push(...(await stores.documents.all<KnownDocument>()));
          await stores.documents.clear();
        }
        for (const { type, documentId, data, version } of page.documents) {
          const document = { type, documentId, data: data ?? null, version };
          if (await learn(stores, document)) fresh.push(document);
        }
        await stores.meta.put({ name: "cursor", cursor: page.cursor });
        return fresh;
      });
      if (learned.length > 0) this.options.changed(learned);
      more = page.more;
    }
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
    throw new Unreached(`the server answered ${response.status}`, false, seconds * 1000 || 0);
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
  ) {
    super(text);
  }
}
