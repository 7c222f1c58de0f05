export type { Conflict, DataVersion, OfflineData, SyncStatus } from "./database.js";
export type { Json, JsonObject } from "./json.js";
export {
  OfflineDataManager,
  QueueFullError,
  type LiveSocket,
  type OfflineEvents,
  type OfflineOptions,
} from "./offline.js";
export {
  StockClient,
  type Bar,
  type ConnectionState,
  type ServerError,
  type StockData,
  type StockEvents,
  type StockOptions,
  type StockUpdate,
} from "./quotes.js";
export type { SyncResult } from "./queue.js";
