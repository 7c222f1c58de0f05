/*
 * loadgen: thousands of Engine.IO 4 WebSocket clients in one thread.
 *
 * It is audience, ticker and referee at once. As audience it connects, subscribes, answers pings
 * and reads every frame. As ticker it tells the server over a control connection which symbols
 * change ("<first> <count>\n"), so that all servers are driven alike, and notes the time. As
 * referee it checks that each client got each update of its symbols, in order, and how long after
 * the tick.
 *
 *   usage: loadgen SERVER_PORT CONTROL_PORT SYMBOLS PER_CLIENT STALL_SECONDS
 *
 * It gives up on whatever makes no progress for STALL_SECONDS.
 *
 * One command a line on stdin, one JSON object a line on stdout:
 *
 *   connect N [E]        N more clients, WebSocket and Socket.IO handshake; every Eth is a slow one
 *   subscribe            each client that has not yet, to its PER_CLIENT symbols
 *   turns SECONDS        closed loop: all symbols change, the next turn starts when all arrived
 *   repeat N             the same, N turns
 *   rate SECONDS HERTZ   open loop: one symbol after the other, evenly spread
 *   stall                the slow clients stop reading; from now on nothing is expected of them
 *   resume               they read again: each must come to the newest update of its symbols
 *   storm N HERTZ        N more clients at once, again and again until all are in, while updates
 *                        go on; they subscribe to symbols that stay quiet
 *
 * At the end of stdin it exits.
 */
#define _GNU_SOURCE
#include "audience.h"

enum {
    /* Clients of a storm that dial between two looks at the sockets, and that are looked at. */
    STORM_DIALS = 16,
    STORM_LOOKS = 512,
};

/* ---- commands ---------------------------------------------------------------------------- */

static void open_client(bool slow) {
    struct client *c = &clients[clients_made];
    c->slow = slow;
    dial(&c->fd, server_port, 0, c);
    if ((c->seen = calloc((size_t)per_client, sizeof *c->seen)) == NULL)
        fail("memory");
    watch(c->fd, (uint32_t)clients_made++);
    send_request(c);
}

/* Waits until no more than so many are under way. Those that the server refuses or forgets are
 * lost: no figure of such a run means anything. */
static void settle(int started, int under_way) {
    if (started > under_way && !pump_until(&stages_reached, (uint64_t)(started - under_way)))
        clients_lost += started - (int)stages_reached;
}

static void reserve(int count) {
    if (clients_made + count > MAX_CLIENTS)
        fail("too many clients");
}

static void run_connect(int count, int slow_every) {
    reserve(count);
    for (int i = 0; i < count && !clients_lost; i++) {
        open_client(slow_every && i % slow_every == 0);
        settle(i + 1, WINDOW - 1);
    }
    settle(count, 0);
}

static void add_watchers(int client, int change) {
    for (int slot = 0; slot < per_client; slot++)
        symbols[watched_symbol(client, slot)].watchers += (uint32_t)change;
}

static void run_subscribe(void) {
    int started = 0;
    for (int i = 0; i < clients_made && !clients_lost; i++) {
        if (clients[i].stage != CONNECTED)
            continue;
        send_subscribe(&clients[i]);
        add_watchers(i, 1);
        settle(++started, WINDOW - 1);
    }
    settle(started, 0);
}

static void tick(int first, int count) {
    char line[64];
    uint64_t now = now_ns(CLOCK_MONOTONIC);
    for (int i = first; i < first + count; i++) {
        struct symbol *s = &symbols[i];
        s->ticked_at[++s->published % TICKS_HELD] = now;
        tally.expected += s->watchers;
    }
    int size = sprintf(line, "%d %d\n", first, count);
    if (send(control, line, (size_t)size, MSG_NOSIGNAL) != size)
        fail("control");
}

static int run_turns(double seconds, int at_most) {
    uint64_t end = now_ns(CLOCK_MONOTONIC) + (uint64_t)(seconds * 1e9);
    int turns = 0;
    do {
        tick(0, symbol_count);
        turns++;
    } while (pump_until(&tally.received, tally.expected) && now_ns(CLOCK_MONOTONIC) < end &&
             turns < at_most);
    return turns;
}

static int start_timer(double hertz) {
    struct itimerspec pace = {.it_interval.tv_nsec = (long)(1e9 / hertz), .it_value.tv_nsec = 1};
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    if (timer < 0 || timerfd_settime(timer, 0, &pace, NULL) < 0)
        fail("timer");
    watch(timer, FROM_TIMER);
    return timer;
}

/* Reads what is there, and ticks as often as it is time to; returns how often. */
static int pump_and_tick(int timer, int timeout_ms, int done, int at_most) {
    uint64_t due = 0;
    int ticks = 0;
    if (!pump(timeout_ms) || read(timer, &due, sizeof due) != sizeof due)
        return 0;
    for (; due > 0 && ticks < at_most; due--)
        tick((done + ticks++) % symbol_count, 1);
    return ticks;
}

static int run_rate(double seconds, double hertz) {
    int timer = start_timer(hertz), total = (int)(seconds * hertz), done = 0;
    while (done < total)
        done += pump_and_tick(timer, 1000, done, total - done);
    close(timer);
    pump_until(&tally.received, tally.expected);
    return done;
}

static void run_stall(void) {
    for (int i = 0; i < clients_made; i++)
        if (clients[i].slow) {
            clients[i].reading = STALLED;
            add_watchers(i, -1);
            epoll_ctl(poller, EPOLL_CTL_DEL, clients[i].fd, NULL);
        }
}

static void run_resume(void) {
    for (int i = 0; i < clients_made; i++)
        if (clients[i].reading == STALLED) {
            int room = BUFFER;
            setsockopt(clients[i].fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
            clients[i].reading = CATCHING_UP;
            tally.expected += (uint64_t)per_client;
            for (int slot = 0; slot < per_client; slot++)
                tally.received +=
                    clients[i].seen[slot] == symbols[watched_symbol(i, slot)].published;
            watch(clients[i].fd, (uint32_t)i);
        }
    pump_until(&tally.received, tally.expected);
    for (int i = 0; i < clients_made; i++)
        if (clients[i].reading == CATCHING_UP) {
            clients[i].reading = READING;
            add_watchers(i, 1);
        }
}

/* Looks at some of the storm's clients, and lets those that want to come do so: few at a time,
 * so that prices are read meanwhile. */
static void dial_some(int first, int count, int *next) {
    uint64_t now = now_ns(CLOCK_MONOTONIC);
    for (int looked = 0, dialed = 0; looked < STORM_LOOKS && dialed < STORM_DIALS; looked++) {
        struct client *c = &clients[first + *next];
        *next = (*next + 1) % count;
        if (c->stage != WAITING || c->retry_at > now)
            continue;
        dialed++;
        c->dialed_at = now_ns(CLOCK_MONOTONIC);
        bool there = dial(&c->fd, server_port, SOCK_NONBLOCK, c);
        c->stage = DIALING;
        watch_for(c->fd, (uint32_t)(c - clients), there ? EPOLLIN : EPOLLOUT, EPOLL_CTL_ADD);
        if (there)
            send_request(c);
    }
}

static int run_storm(int count, double hertz) {
    int first = clients_made, timer = start_timer(hertz), done = 0, next = 0;
    uint64_t in = 0, since = now_ns(CLOCK_MONOTONIC);
    reserve(count);
    storm_in = 0;
    for (int i = first; i < first + count; i++)
        clients[i].stormy = true, clients[i].stage = WAITING;
    clients_made += count;
    while (storm_in < (uint64_t)count) {
        done += pump_and_tick(timer, 1, done, INT_MAX);
        dial_some(first, count, &next);
        uint64_t now = now_ns(CLOCK_MONOTONIC);
        if (storm_in != in)
            in = storm_in, since = now;
        else if (now - since > stall_ns)
            break;
    }
    clients_lost += count - (int)storm_in;
    close(timer);
    pump_until(&tally.received, tally.expected);
    return done;
}

/* The microseconds that a share of the counted ones stayed under. */
static long percentile(const uint32_t *histogram, double share) {
    uint64_t all = 0, sum = 0;
    for (int i = 0; i < LATENCY_BUCKETS; i++)
        all += histogram[i];
    for (int i = 0; i < LATENCY_BUCKETS; i++)
        if ((sum += histogram[i]) > 0 && (double)sum >= (double)all * share)
            return (long)i * BUCKET_US;
    return -1;
}

static void begin(void) {
    memset(&tally, 0, sizeof tally);
    memset(latency, 0, sizeof latency);
    memset(refusal, 0, sizeof refusal);
    stages_reached = 0;
    cpu_at_start = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    started_at = now_ns(CLOCK_MONOTONIC);
}

static void report(int turns) {
    double wall = (double)(now_ns(CLOCK_MONOTONIC) - started_at) / 1e9;
    double cpu = (double)(now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_at_start) / 1e9;
    printf("{\"clients\":%d,\"clients_lost\":%d,\"turns\":%d,\"expected\":%" PRIu64
           ",\"received\":%" PRIu64 ",\"disorder\":%" PRIu64 ",\"unwanted\":%" PRIu64
           ",\"other\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"broken\":%" PRIu64
           ",\"p50_us\":%ld,\"p99_us\":%ld,\"refusal_p99_us\":%ld,\"wall_s\":%.6f"
           ",\"cpu_s\":%.6f}\n",
           clients_made, clients_lost, turns, tally.expected, tally.received, tally.disorder,
           tally.unwanted, tally.other, tally.refused, tally.broken, percentile(latency, 0.5),
           percentile(latency, 0.99), percentile(refusal, 0.99), wall, cpu);
    fflush(stdout);
}

/* Returns false at the end of stdin. Lines come one at a time, each after the answer before. */
static bool run_command(void) {
    char line[128];
    int count, every = 0, turns = 0;
    double seconds, hertz;
    if (fgets(line, sizeof line, stdin) == NULL)
        return false;
    begin();
    epoll_ctl(poller, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
    if (sscanf(line, "connect %d %d", &count, &every) >= 1)
        run_connect(count, every);
    else if (strcmp(line, "subscribe\n") == 0)
        run_subscribe();
    else if (sscanf(line, "turns %lf", &seconds) == 1)
        turns = run_turns(seconds, INT_MAX);
    else if (sscanf(line, "repeat %d", &count) == 1)
        turns = run_turns(3600, count);
    else if (sscanf(line, "rate %lf %lf", &seconds, &hertz) == 2)
        turns = run_rate(seconds, hertz);
    else if (sscanf(line, "storm %d %lf", &count, &hertz) == 2)
        turns = run_storm(count, hertz);
    else if (strcmp(line, "stall\n") == 0)
        run_stall();
    else if (strcmp(line, "resume\n") == 0)
        run_resume();
    else
        fprintf(stderr, "loadgen: unknown command: %s", line);
    watch(STDIN_FILENO, FROM_STDIN);
    report(turns);
    return true;
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: loadgen SERVER_PORT CONTROL_PORT SYMBOLS PER_CLIENT STALL_SECONDS\n");
        return 2;
    }
    server_port = atoi(argv[1]);
    symbol_count = atoi(argv[3]);
    per_client = atoi(argv[4]);
    stall_ns = (uint64_t)(atof(argv[5]) * 1e9);
    stride = symbol_count / per_client;
    symbols = calloc((size_t)symbol_count, sizeof *symbols);
    if (symbols == NULL || (poller = epoll_create1(0)) < 0)
        fail("start");
    dial(&control, atoi(argv[2]), 0, NULL);
    watch(STDIN_FILENO, FROM_STDIN);
    for (;;)
        if (pump(-1) && !run_command())
            return 0;
}
