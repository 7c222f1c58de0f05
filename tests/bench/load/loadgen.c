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
 *   connect N            N more clients, WebSocket and Socket.IO handshake
 *   subscribe            each client that has not yet, to its PER_CLIENT symbols
 *   turns SECONDS        closed loop: all symbols change, the next turn starts when all arrived
 *   rate SECONDS HERTZ   open loop: one symbol after the other, evenly spread
 *
 * At the end of stdin it exits.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_CLIENTS = 32768,
    /* Clients that shake hands or subscribe at the same time: a steady stream, not a storm. */
    WINDOW = 64,
    /* The times of a symbol's last ticks; an update later than that has no latency. */
    TICKS_HELD = 64,
    BUFFER = 1 << 18,
    EVENTS = 512,
    /* Latencies are counted in buckets of 10 µs up to 20 s; the last one takes all longer ones. */
    BUCKET_US = 10,
    LATENCY_BUCKETS = 2000000,
};

enum stage { CLOSED, UPGRADING, OPENING, JOINING, CONNECTED, SUBSCRIBING, SUBSCRIBED };

struct client {
    int fd;
    enum stage stage;
    /* The first part of a frame whose rest has not arrived. */
    char *rest;
    size_t rest_size;
    /* The last sequence number seen of each of its symbols. */
    uint32_t *seen;
};

struct symbol {
    uint32_t published;
    uint32_t watchers;
    uint64_t ticked_at[TICKS_HELD];
};

static struct client clients[MAX_CLIENTS];
static int clients_made, clients_lost;
static uint64_t stages_reached;
static struct symbol *symbols;
static int symbol_count, per_client, stride, server_port;
static int poller, control;

/* What one command saw. */
static struct {
    uint64_t expected, received, disorder, unwanted, other;
} tally;
static uint32_t latency[LATENCY_BUCKETS];
static uint64_t started_at, cpu_at_start, stall_ns;

static void fail(const char *what) {
    fprintf(stderr, "loadgen: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- which client watches what ---------------------------------------------------------- */

/* Client i watches PER_CLIENT symbols, evenly spaced from a starting point of its own: each symbol
 * has the same number of watchers, and neighbours do not share one set. 7919 is a prime. */
static int first_symbol(int client) { return (int)((int64_t)client * 7919 % symbol_count); }

static int watched_symbol(int client, int slot) {
    return (first_symbol(client) + slot * stride) % symbol_count;
}

/* The slot of a symbol in a client's list, or -1 when the client does not watch it. */
static int slot_of(int client, int symbol) {
    int distance = (symbol - first_symbol(client) + symbol_count) % symbol_count;
    return distance % stride == 0 && distance / stride < per_client ? distance / stride : -1;
}

/* ---- frames out -------------------------------------------------------------------------- */

/* Client frames must be masked; a mask of zeros is a legal one and costs nothing here. */
static void send_text(struct client *c, const char *text, size_t size) {
    static char frame[BUFFER];
    size_t head = size < 126 ? 2 : 4;
    frame[0] = (char)0x81;
    frame[1] = (char)(0x80 | (size < 126 ? size : 126));
    if (size >= 126) {
        frame[2] = (char)(size >> 8);
        frame[3] = (char)size;
    }
    memset(frame + head, 0, 4);
    memcpy(frame + head + 4, text, size);
    if (send(c->fd, frame, head + 4 + size, MSG_NOSIGNAL) != (ssize_t)(head + 4 + size))
        fail("a request did not fit into the socket");
}

static void send_subscribe(struct client *c) {
    static char text[BUFFER];
    int size = sprintf(text, "42[\"subscribe\",{\"events\":[");
    for (int slot = 0; slot < per_client; slot++)
        size += sprintf(text + size, "%s\"stock_update_S%05d\"", slot ? "," : "",
                        watched_symbol((int)(c - clients), slot));
    size += sprintf(text + size, "]}]");
    if (size > 65535) {
        fprintf(stderr, "loadgen: too many symbols for one subscribe frame\n");
        exit(1);
    }
    send_text(c, text, (size_t)size);
    c->stage = SUBSCRIBING;
}

/* ---- frames in --------------------------------------------------------------------------- */

static void lose(struct client *c) {
    if (c->stage == CLOSED)
        return;
    close(c->fd);
    c->stage = CLOSED;
    clients_lost++;
}

static void reach(struct client *c, enum stage stage) {
    c->stage = stage;
    stages_reached++;
}

/* 42["stock_update_S00017",{... "seq":12, ...}]: the symbol's number stands at a fixed place, the
 * sequence number is looked for; that is all the parsing an update needs. */
static void on_update(struct client *c, const char *text, size_t size, size_t name_size, uint64_t now) {
    int index = (int)(c - clients);
    int symbol = atoi(text + name_size);
    const char *mark = memmem(text, size, "\"seq\":", 6);
    int slot = symbol < symbol_count ? slot_of(index, symbol) : -1;
    if (slot < 0 || mark == NULL) {
        tally.unwanted++;
        return;
    }
    uint32_t seq = (uint32_t)strtoul(mark + 6, NULL, 10);
    uint32_t *seen = &c->seen[slot];
    bool next = seq == *seen + 1;
    *seen = seq;
    /* A snapshot only says where the sequence stands; it is nobody's update. */
    if (!next && memmem(text, size, "\"snapshot\":true", 15) != NULL) {
        tally.other++;
        return;
    }
    tally.disorder += !next;
    tally.received++;
    struct symbol *s = &symbols[symbol];
    if (seq + TICKS_HELD > s->published && seq <= s->published) {
        uint64_t bucket = (now - s->ticked_at[seq % TICKS_HELD]) / (1000 * BUCKET_US);
        latency[bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1]++;
    }
}

static bool starts(const char *text, size_t size, const char *with) {
    size_t n = strlen(with);
    return size >= n && memcmp(text, with, n) == 0;
}

static void on_packet(struct client *c, const char *text, size_t size, uint64_t now) {
    static const char update[] = "42[\"stock_update_S";
    if (starts(text, size, update)) {
        on_update(c, text, size, sizeof update - 1, now);
    } else if (starts(text, size, "2")) {
        send_text(c, "3", 1);
    } else if (starts(text, size, "0{") && c->stage == OPENING) {
        c->stage = JOINING;
        send_text(c, "40", 2);
    } else if (starts(text, size, "40") && c->stage == JOINING) {
        reach(c, CONNECTED);
    } else if (starts(text, size, "42[\"subscribed\"") && c->stage == SUBSCRIBING) {
        reach(c, SUBSCRIBED);
    } else if (starts(text, size, "1") || starts(text, size, "44") || starts(text, size, "41")) {
        lose(c);
    } else {
        tally.other++;
    }
}

/* The size of the frame at `data`, or 0 when it is not complete; `head` becomes its header's. */
static size_t frame_size(const unsigned char *data, size_t size, size_t *head) {
    if (size < 2)
        return 0;
    size_t body = data[1] & 0x7f;
    *head = body < 126 ? 2 : body == 126 ? 4 : 10;
    if (size < *head)
        return 0;
    if (body >= 126) {
        body = 0;
        for (size_t i = 2; i < *head; i++)
            body = body << 8 | data[i];
    }
    return size < *head + body ? 0 : *head + body;
}

/* Takes whole frames off the buffer and returns how many bytes that was. */
static size_t read_frames(struct client *c, char *data, size_t size, uint64_t now) {
    size_t done = 0, head = 0, whole;
    while (c->stage != CLOSED &&
           (whole = frame_size((unsigned char *)data + done, size - done, &head)) > 0) {
        if ((data[done] & 0x0f) == 8)
            lose(c);
        else
            on_packet(c, data + done + head, whole - head, now);
        done += whole;
    }
    return done;
}

/* The answer to the upgrade. The accept key is not verified: the server is a partner here. */
static size_t read_upgrade(struct client *c, char *data, size_t size) {
    char *end = memmem(data, size, "\r\n\r\n", 4);
    if (end == NULL)
        return 0;
    if (!starts(data, size, "HTTP/1.1 101")) {
        fprintf(stderr, "loadgen: upgrade refused: %.*s\n", (int)(size < 200 ? size : 200), data);
        lose(c);
        return size;
    }
    c->stage = OPENING;
    return (size_t)(end + 4 - data);
}

static void on_readable(struct client *c) {
    /* One byte more than is ever received, so that number parsing ends inside the buffer. */
    static char buffer[BUFFER + 1];
    if (c->rest_size)
        memcpy(buffer, c->rest, c->rest_size);
    ssize_t got = recv(c->fd, buffer + c->rest_size, BUFFER - c->rest_size, MSG_DONTWAIT);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN)
            lose(c);
        return;
    }
    uint64_t now = now_ns(CLOCK_MONOTONIC);
    size_t size = c->rest_size + (size_t)got, done = 0;
    buffer[size] = 0;
    if (c->stage == UPGRADING)
        done = read_upgrade(c, buffer, size);
    if (c->stage > UPGRADING)
        done += read_frames(c, buffer + done, size - done, now);
    if (done < size && (c->rest = realloc(c->rest, size - done)) == NULL)
        fail("memory");
    if (done < size)
        memcpy(c->rest, buffer + done, size - done);
    c->rest_size = size - done;
}

/* ---- the loop ---------------------------------------------------------------------------- */

/* What epoll hands back: a client's number, or one of these. */
enum { FROM_STDIN = MAX_CLIENTS, FROM_TIMER };

static void watch(int fd, uint32_t number) {
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0)
        fail("epoll");
}

/* Reads what is there; returns whether stdin or the timer is ready, whichever is watched. */
static bool pump(int timeout_ms) {
    struct epoll_event events[EVENTS];
    bool called = false;
    int n = epoll_wait(poller, events, EVENTS, timeout_ms);
    for (int i = 0; i < n; i++)
        if (events[i].data.u32 >= FROM_STDIN)
            called = true;
        else
            on_readable(&clients[events[i].data.u32]);
    return called;
}

/* Pumps until `counter` reaches `target` or nothing has happened for too long. */
static bool pump_until(const uint64_t *counter, uint64_t target) {
    uint64_t last = *counter, since = now_ns(CLOCK_MONOTONIC);
    while (*counter < target) {
        pump(100);
        uint64_t now = now_ns(CLOCK_MONOTONIC);
        if (*counter == last && now - since > stall_ns)
            return false;
        if (*counter != last)
            since = now;
        last = *counter;
    }
    return true;
}

/* ---- commands ---------------------------------------------------------------------------- */

static int dial(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static void open_client(void) {
    static const char request[] =
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: c3RvY2stc3RyZWFtLWJlbg==\r\n\r\n";
    struct client *c = &clients[clients_made];
    c->fd = dial(server_port);
    c->stage = UPGRADING;
    if ((c->seen = calloc((size_t)per_client, sizeof *c->seen)) == NULL)
        fail("memory");
    watch(c->fd, (uint32_t)clients_made++);
    if (send(c->fd, request, sizeof request - 1, MSG_NOSIGNAL) != sizeof request - 1)
        fail("request");
}

/* Waits until no more than so many are under way. Those that the server refuses or forgets are
 * lost: no figure of such a run means anything. */
static void settle(int started, int under_way) {
    if (started > under_way && !pump_until(&stages_reached, (uint64_t)(started - under_way)))
        clients_lost += started - (int)stages_reached;
}

static void run_connect(int count) {
    if (clients_made + count > MAX_CLIENTS)
        fail("too many clients");
    for (int i = 0; i < count && !clients_lost; i++) {
        open_client();
        settle(i + 1, WINDOW - 1);
    }
    settle(count, 0);
}

static void run_subscribe(void) {
    int started = 0;
    for (int i = 0; i < clients_made && !clients_lost; i++) {
        if (clients[i].stage != CONNECTED)
            continue;
        send_subscribe(&clients[i]);
        for (int slot = 0; slot < per_client; slot++)
            symbols[watched_symbol(i, slot)].watchers++;
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

static int run_turns(double seconds) {
    uint64_t end = now_ns(CLOCK_MONOTONIC) + (uint64_t)(seconds * 1e9);
    int turns = 0;
    do {
        tick(0, symbol_count);
        turns++;
    } while (pump_until(&tally.received, tally.expected) && now_ns(CLOCK_MONOTONIC) < end);
    return turns;
}

static int run_rate(double seconds, double hertz) {
    int timer = timerfd_create(CLOCK_MONOTONIC, 0), total = (int)(seconds * hertz), done = 0;
    struct itimerspec pace = {.it_interval.tv_nsec = (long)(1e9 / hertz), .it_value.tv_nsec = 1};
    if (timer < 0 || timerfd_settime(timer, 0, &pace, NULL) < 0)
        fail("timer");
    watch(timer, FROM_TIMER);
    while (done < total) {
        uint64_t due = 0;
        if (!pump(1000) || read(timer, &due, sizeof due) != sizeof due)
            continue;
        for (; due > 0 && done < total; due--)
            tick(done++ % symbol_count, 1);
    }
    close(timer);
    pump_until(&tally.received, tally.expected);
    return done;
}

/* The latency in microseconds that a share of the updates stayed under. */
static long percentile(double share) {
    uint64_t all = 0, sum = 0;
    for (int i = 0; i < LATENCY_BUCKETS; i++)
        all += latency[i];
    for (int i = 0; i < LATENCY_BUCKETS; i++)
        if ((sum += latency[i]) > 0 && (double)sum >= (double)all * share)
            return (long)i * BUCKET_US;
    return -1;
}

static void begin(void) {
    memset(&tally, 0, sizeof tally);
    memset(latency, 0, sizeof latency);
    stages_reached = 0;
    cpu_at_start = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    started_at = now_ns(CLOCK_MONOTONIC);
}

static void report(int turns) {
    double wall = (double)(now_ns(CLOCK_MONOTONIC) - started_at) / 1e9;
    double cpu = (double)(now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_at_start) / 1e9;
    printf("{\"clients\":%d,\"clients_lost\":%d,\"turns\":%d,\"expected\":%" PRIu64
           ",\"received\":%" PRIu64 ",\"disorder\":%" PRIu64 ",\"unwanted\":%" PRIu64
           ",\"other\":%" PRIu64 ",\"p50_us\":%ld,\"p99_us\":%ld,\"wall_s\":%.6f,\"cpu_s\":%.6f}\n",
           clients_made, clients_lost, turns, tally.expected, tally.received, tally.disorder,
           tally.unwanted, tally.other, percentile(0.5), percentile(0.99), wall, cpu);
    fflush(stdout);
}

/* Returns false at the end of stdin. Lines come one at a time, each after the answer before. */
static bool run_command(void) {
    char line[128];
    int count, turns = 0;
    double seconds, hertz;
    if (fgets(line, sizeof line, stdin) == NULL)
        return false;
    begin();
    epoll_ctl(poller, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
    if (sscanf(line, "connect %d", &count) == 1)
        run_connect(count);
    else if (strcmp(line, "subscribe\n") == 0)
        run_subscribe();
    else if (sscanf(line, "turns %lf", &seconds) == 1)
        turns = run_turns(seconds);
    else if (sscanf(line, "rate %lf %lf", &seconds, &hertz) == 2)
        turns = run_rate(seconds, hertz);
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
    control = dial(atoi(argv[2]));
    watch(STDIN_FILENO, FROM_STDIN);
    for (;;)
        if (pump(-1) && !run_command())
            return 0;
}
