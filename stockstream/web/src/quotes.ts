/** Live quotes: what socket.io-client does not do by itself is here, and no more. */

import { io, type ManagerOptions, type Socket, type SocketOptions } from "socket.io-client";
import { Emitter } from "./events.js";

/** A price change, or the state of a symbol (section 4.1 of the documented design). */
export interface StockUpdate {
  symbol: string;
  price: number;
  change: number;
  changePercent: number;
  volume: number;
  /** The quote's own time, in ms since the epoch. */
  timestamp: number;
  bid?: number;
  ask?: number;
  dayHigh?: number;
  dayLow?: number;
  open?: number;
  previousClose?: number;
  /** Reference data, where the server has any of the symbol. */
  name?: string;
  currency?: string;
  exchange?: string;
  /** Number of the update within its epoch. */
  seq: number;
  epoch: string;
  /** True on the state that a subscription begins with. */
  snapshot?: boolean;
}

export interface Bar {
  /** Start of the bar, in ms since the epoch. */
  timestamp: number;
  open: number;
  high: number;
  low: number;
  close: number;
  volume: number;
}

export interface StockData {
  symbol: string;
  timeframe: string;
  data: { symbol: string; timeframe: string; data: Bar[]; quote: StockUpdate | null; lastUpdated: number };
  timestamp: number;
}

/** What the server says when it refuses something. */
export interface ServerError {
  type: string;
  code: string;
  message: string;
  symbol?: string;
  event?: string;
}

export type ConnectionState = "disconnected" | "connecting" | "connected" | "reconnecting";

export type StockEvents = {
  state: ConnectionState;
  error: ServerError;
};

export interface StockOptions extends Partial<ManagerOptions & SocketOptions> {
  /** The user's token, or what gets a fresh one for each connection. */
  token?: string | (() => Promise<string>);
}

/** Milliseconds to wait for the answer to a request. */
const ANSWER_TIMEOUT = 15_000;

/** Watches symbols through lost connections: each update comes once and in order. */
export class StockClient extends Emitter<StockEvents> {
  /** The Socket.IO client below, for whatever else the page wants of it. */
  readonly socket: Socket;
  private readonly watchers = new Map<string, Set<(update: StockUpdate) => void>>();
  private readonly seen = new Map<string, { epoch: string; seq: number }>();
  private state: ConnectionState = "connecting";

  constructor(url: string = location.origin, { token, ...options }: StockOptions = {}) {
    super();
    const auth = async (give: (data: object) => void): Promise<void> => {
      give(token === undefined ? {} : { token: typeof token === "function" ? await token() : token });
    };
    this.socket = io(url, { reconnectionDelayMax: 30_000, ...options, auth });
    this.socket.on("connect", () => this.connected());
    this.socket.on("disconnect", () => {
      this.setState(this.socket.active ? "reconnecting" : "disconnected");
    });
    this.socket.on("connect_error", (error: Error & { data?: ServerError }) => {
      this.setState(this.socket.active ? "reconnecting" : "disconnected");
      const { message } = error;
      this.emit("error", error.data ?? { type: "connect_error", code: "unavailable", message });
    });
    this.socket.on("error", (error: ServerError) => this.emit("error", error));
  }

  /** Call `watcher` with each update of these symbols; returns what ends that. */
  watch(symbols: string[], watcher: (update: StockUpdate) => void): () => void {
    const events = symbols.map((symbol) => `stock_update_${symbol.toUpperCase()}`);
    events.forEach((event) => this.addWatcher(event, watcher));
    // Also for those that are watched already: the newcomer wants its snapshot.
    this.subscribe(events);
    return () => events.forEach((event) => this.removeWatcher(event, watcher));
  }

  /** Ask for bars and the latest quote of a symbol. Rejects with what the server says against it. */
  async getStockData(symbol: string, timeframe = "1d", limit = 100): Promise<StockData> {
    const request = { symbol, timeframe, limit };
    const answer: StockData | ServerError = await this.socket
      .timeout(ANSWER_TIMEOUT)
      .emitWithAck("get_stock_data", request);
    // The server subscribes who asks; only watchers want that.
    const event = `stock_update_${symbol.toUpperCase()}`;
    if (!this.watchers.has(event)) this.socket.emit("unsubscribe", { events: [event] });
    if ("code" in answer) throw Object.assign(new Error(answer.message), answer);
    return answer;
  }

  /** Hand in a fresh token without connecting again. */
  async authenticate(token: string): Promise<void> {
    const answer: object = await this.socket.timeout(ANSWER_TIMEOUT).emitWithAck("authenticate", { token });
    if ("code" in answer) throw Object.assign(new Error("the token was refused"), answer);
  }

  get connectionState(): ConnectionState {
    return this.state;
  }

  close(): void {
    this.socket.disconnect();
    this.setState("disconnected");
  }

  private connected(): void {
    this.setState("connected");
    // A session that was given back goes on by itself.
    if (!this.socket.recovered && this.watchers.size > 0) this.resume();
  }

  /** Ask for everything that is watched, from where each symbol was. */
  private resume(): void {
    const events = [...this.watchers.keys()];
    for (let start = 0; start < events.length; start += 500) {
      const part = events.slice(start, start + 500);
      const since = Object.fromEntries(
        part.flatMap((event) => (this.seen.has(event) ? [[event, this.seen.get(event)]] : [])),
      );
      this.socket.emit("subscribe", { events: part, since });
    }
  }

  private subscribe(events: string[]): void {
    // Before the first connection, and while there is none, `connected` does it.
    if (this.socket.connected) this.socket.emit("subscribe", { events });
  }

  private addWatcher(event: string, watcher: (update: StockUpdate) => void): void {
    const watchers = this.watchers.get(event);
    if (watchers) {
      watchers.add(watcher);
      return;
    }
    this.watchers.set(event, new Set([watcher]));
    this.socket.on(event, ({ payload }: { payload: StockUpdate }) => this.take(event, payload));
  }

  private removeWatcher(event: string, watcher: (update: StockUpdate) => void): void {
    const watchers = this.watchers.get(event);
    if (!watchers?.delete(watcher) || watchers.size > 0) return;
    this.watchers.delete(event);
    this.seen.delete(event);
    this.socket.off(event);
    if (this.socket.connected) this.socket.emit("unsubscribe", { events: [event] });
  }

  private take(event: string, update: StockUpdate): void {
    const last = this.seen.get(event);
    const known = last?.epoch === update.epoch && update.seq <= last.seq;
    if (known && !update.snapshot) return;
    if (!known) this.seen.set(event, { epoch: update.epoch, seq: update.seq });
    for (const watcher of [...(this.watchers.get(event) ?? [])]) watcher(update);
  }

  private setState(state: ConnectionState): void {
    if (state === this.state) return;
    this.state = state;
    this.emit("state", state);
  }
}
