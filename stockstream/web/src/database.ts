/** What survives a reload: the queue of changes and the last known documents, in IndexedDB. */

import type { JsonObject } from "./json.js";

/** Which version of a document holds (DataVersion, section 6.1 of the documented design). */
export interface DataVersion {
  version: number;
  /** When the server took it, in ms since the epoch. */
  timestamp: number;
  author: string;
  checksum: string;
}

export type SyncStatus = "pending" | "syncing" | "synced" | "failed";

/** A change that is on its way to the server (OfflineData, section 5.1 of the documented design). */
export interface OfflineData {
  /** Place in the queue. */
  order: number;
  /** The server applies a change once, however often it is told of this id. */
  id: string;
  type: string;
  documentId: string;
  /** The whole document after the change; null where it deletes it. */
  data: JsonObject | null;
  /** The document that the change was made on; null where there was none. */
  base: JsonObject | null;
  /** The server's version of `base`; 0 where there was none. */
  baseVersion: number;
  strategy?: string;
  resolves?: string;
  /** The device's clock, in ms since the epoch. */
  timestamp: number;
  syncStatus: SyncStatus;
  retryCount: number;
  lastSyncAttempt?: number;
  /** Why it failed. */
  error?: { code: string; message: string };
}

/** A document as the server had it last. */
export interface KnownDocument {
  type: string;
  documentId: string;
  /** null: it is deleted. */
  data: JsonObject | null;
  version: DataVersion;
}

/** Two sides that only the user can decide between (strategy `manual`). */
export interface Conflict {
  conflictId: string;
  type: string;
  documentId: string;
  conflictingFields: string[];
  clientData: JsonObject | null;
  serverData: JsonObject | null;
}

const STORES = ["queue", "documents", "conflicts", "meta"] as const;
export type StoreName = (typeof STORES)[number];

/** Stores of one transaction, with requests as promises. */
export type Stores = Record<StoreName, Store>;

export class Store {
  constructor(private readonly store: IDBObjectStore) {}

  get<T>(key: IDBValidKey): Promise<T | undefined> {
    return settled(this.store.get(key));
  }

  all<T>(): Promise<T[]> {
    return settled(this.store.getAll());
  }

  ofDocument<T>(type: string, documentId: string): Promise<T[]> {
    return settled(this.store.index("document").getAll([type, documentId]));
  }

  put(value: object): Promise<IDBValidKey> {
    return settled(this.store.put(value));
  }

  delete(key: IDBValidKey): Promise<undefined> {
    return settled(this.store.delete(key));
  }

  clear(): Promise<undefined> {
    return settled(this.store.clear());
  }
}

export class Database {
  private constructor(private readonly connection: IDBDatabase) {
    // Another tab brings a newer version of this module: let it.
    connection.onversionchange = () => connection.close();
  }

  /** Open, and create where there is none. Rejects where the browser has no storage for us. */
  static async open(name: string): Promise<Database> {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => {
      const connection = request.result;
      const queue = connection.createObjectStore("queue", { keyPath: "order", autoIncrement: true });
      queue.createIndex("document", ["type", "documentId"]);
      connection.createObjectStore("documents", { keyPath: ["type", "documentId"] });
      connection.createObjectStore("conflicts", { keyPath: "conflictId" });
      connection.createObjectStore("meta", { keyPath: "name" });
    };
    return new Database(await settled(request));
  }

  /** Run `work` in one transaction over all stores; what it changed is on the disk once this resolves. */
  async write<T>(work: (stores: Stores) => Promise<T>): Promise<T> {
    return this.transact("readwrite", work);
  }

  async read<T>(work: (stores: Stores) => Promise<T>): Promise<T> {
    return this.transact("readonly", work);
  }

  close(): void {
    this.connection.close();
  }

  private async transact<T>(mode: IDBTransactionMode, work: (stores: Stores) => Promise<T>): Promise<T> {
    const transaction = this.connection.transaction(STORES, mode, { durability: "strict" });
    const completed = new Promise<void>((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error ?? new DOMException("aborted", "AbortError"));
    });
    const stores = STORES.map((name) => [name, new Store(transaction.objectStore(name))]);
    try {
      const result = await work(Object.fromEntries(stores) as Stores);
      await completed;
      return result;
    } catch (error) {
      completed.catch(() => undefined);
      if (transaction.error === null) abort(transaction);
      throw error;
    }
  }
}

function abort(transaction: IDBTransaction): void {
  try {
    transaction.abort();
  } catch {
    // It has ended by itself.
  }
}

function settled<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

