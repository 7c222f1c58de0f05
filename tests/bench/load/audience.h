/*
 * The audience of the load generator: clients, what they say, what they hear, and the loop that
 * serves them all. Included once.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
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

/* WAITING and DIALING are for those who come in a storm. */
enum stage {
    CLOSED, WAITING, DIALING, UPGRADING, OPENING, JOINING, CONNECTED, SUBSCRIBING, SUBSCRIBED
};

/* STALLED ones read nothing; what they missed comes while they are CATCHING_UP. */
enum reading { READING, STALLED, CATCHING_UP };

struct client {
    int fd;
    enum stage stage;
    enum reading reading;
    /* Has small buffers, so that the server soon notices when it stops reading. */
    bool slow;
    /* Came in a storm: where it is turned away it comes again, and its symbols stay quiet. */
    bool stormy;
    int attempts;
    uint64_t dialed_at, retry_at;
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
static uint64_t stages_reached, storm_in;
static struct symbol *symbols;
static int symbol_count, per_client, stride, server_port;
static int poller, control;

/* What one command saw. */
static struct {
    uint64_t expected, received, disorder, unwanted, other;
    /* Handshakes answered with "come back later", and connections that broke before they were in. */
    uint64_t refused, broken;
} tally;
/* From the tick to the update, and from dialing to a refusal. */
static uint32_t latency[LATENCY_BUCKETS], refusal[LATENCY_BUCKETS];
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

static void count_ns(uint32_t *histogram, uint64_t ns) {
    uint64_t bucket = ns / (1000 * BUCKET_US);
    histogram[bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1]++;
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

/* Another address for each of 250 neighbours, as a crowd has; 127.0.0.0/8 is all ours. */
static void bind_source(int fd, int client) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    int on = 1;
    address.sin_addr.s_addr = htonl(0x7f010001 + (uint32_t)client % 250);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("bind");
}

/* A segment size as on a real network: over loopback the kernel of the server alone would buffer
 * megabytes for a client that does not read. */
static void make_slow(int fd) {
    int bytes = 2048, segment = 536;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment);
}

/* Returns whether the connection is there already; with SOCK_NONBLOCK it may still be coming. */
static bool dial(int *fd, int port, int flags, const struct client *c) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int on = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if ((*fd = socket(AF_INET, SOCK_STREAM | flags, 0)) < 0)
        fail("socket");
    setsockopt(*fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (c != NULL)
        bind_source(*fd, (int)(c - clients));
    if (c != NULL && c->slow)
        make_slow(*fd);
    if (connect(*fd, (struct sockaddr *)&address, sizeof address) == 0)
        return true;
    if (errno != EINPROGRESS)
        fail("connect");
    return false;
}

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
                        watched_symbol((int)(c - clients), slot) + (c->stormy ? symbol_count : 0));
    size += sprintf(text + size, "]}]");
    if (size > 65535) {
        fprintf(stderr, "loadgen: too many symbols for one subscribe frame\n");
        exit(1);
    }
    send_text(c, text, (size_t)size);
    c->stage = SUBSCRIBING;
}

/* ---- frames in --------------------------------------------------------------------------- */

/* As the JavaScript client does it: 1 s, doubled each time, at most 5 s, give or take a half; and
 * not before the server wants it. */
static void come_again(struct client *c, double wanted_s) {
    double backoff_s = (1 << (c->attempts < 4 ? c->attempts : 4)) * (0.5 + drand48());
    double wait_s = backoff_s < 5 ? backoff_s : 5;
    if (wait_s < wanted_s)
        wait_s = wanted_s * (1 + drand48() / 2);
    close(c->fd);
    c->attempts++;
    c->stage = WAITING;
    c->rest_size = 0;
    c->retry_at = now_ns(CLOCK_MONOTONIC) + (uint64_t)(wait_s * 1e9);
}

static void lose(struct client *c) {
    if (c->stage == CLOSED)
        return;
    if (c->stormy && c->stage != SUBSCRIBED) {
        tally.broken++;
        come_again(c, 0);
        return;
    }
    close(c->fd);
    c->stage = CLOSED;
    clients_lost++;
}

/* Turned away for now: 503 or 429. Anything else loses the client. */
static void on_refusal(struct client *c, const char *head) {
    const char *after = strcasestr(head, "\r\nRetry-After:");
    if (!c->stormy || after == NULL) {
        fprintf(stderr, "loadgen: upgrade refused: %.200s\n", head);
        lose(c);
        return;
    }
    tally.refused++;
    count_ns(refusal, now_ns(CLOCK_MONOTONIC) - c->dialed_at);
    come_again(c, atof(after + sizeof "\r\nRetry-After:" - 1));
}

static void reach(struct client *c, enum stage stage) {
    c->stage = stage;
    stages_reached++;
}

/* Somebody who stalled may be spared updates, but never goes back, and gets the newest one of each
 * symbol: only that one counts. */
static void on_late_update(uint32_t *seen, uint32_t seq, uint32_t newest) {
    tally.disorder += seq <= *seen;
    tally.received += seq == newest && seq > *seen;
    *seen = seq;
}

/* 42["stock_update_S00017",{... "seq":12, ...}]: the symbol's number stands at a fixed place, the
 * sequence number is looked for; that is all the parsing an update needs. */
static void on_update(struct client *c, const char *text, size_t size, size_t name_size, uint64_t now) {
    int index = (int)(c - clients);
    int symbol = atoi(text + name_size);
    const char *mark = memmem(text, size, "\"seq\":", 6);
    int slot = !c->stormy && symbol < symbol_count ? slot_of(index, symbol) : -1;
    if (slot < 0 || mark == NULL) {
        tally.unwanted++;
        return;
    }
    uint32_t seq = (uint32_t)strtoul(mark + 6, NULL, 10);
    uint32_t *seen = &c->seen[slot];
    struct symbol *s = &symbols[symbol];
    if (c->reading == CATCHING_UP) {
        on_late_update(seen, seq, s->published);
        return;
    }
    bool next = seq == *seen + 1;
    *seen = seq;
    /* A snapshot only says where the sequence stands; it is nobody's update. */
    if (!next && memmem(text, size, "\"snapshot\":true", 15) != NULL) {
        tally.other++;
        return;
    }
    tally.disorder += !next;
    tally.received++;
    if (seq + TICKS_HELD > s->published && seq <= s->published)
        count_ns(latency, now - s->ticked_at[seq % TICKS_HELD]);
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
        if (c->stormy)
            send_subscribe(c);
    } else if (starts(text, size, "42[\"subscribed\"") && c->stage == SUBSCRIBING) {
        reach(c, SUBSCRIBED);
        storm_in += c->stormy;
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
    while (c->stage > WAITING &&
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
        on_refusal(c, data);
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
    if (c->stage < UPGRADING)
        return;
    if (done < size && (c->rest = realloc(c->rest, size - done)) == NULL)
        fail("memory");
    if (done < size)
        memcpy(c->rest, buffer + done, size - done);
    c->rest_size = size - done;
}

/* ---- the loop ---------------------------------------------------------------------------- */

/* What epoll hands back: a client's number, or one of these. */
enum { FROM_STDIN = MAX_CLIENTS, FROM_TIMER };

static void watch_for(int fd, uint32_t number, uint32_t what, int how) {
    struct epoll_event event = {.events = what, .data.u32 = number};
    if (epoll_ctl(poller, how, fd, &event) < 0)
        fail("epoll");
}

static void watch(int fd, uint32_t number) { watch_for(fd, number, EPOLLIN, EPOLL_CTL_ADD); }

static void send_request(struct client *c) {
    static const char request[] =
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: c3RvY2stc3RyZWFtLWJlbg==\r\n\r\n";
    c->stage = UPGRADING;
    if (send(c->fd, request, sizeof request - 1, MSG_NOSIGNAL) != sizeof request - 1)
        lose(c);
}

/* A connection that was coming is there, or has failed. */
static void on_dialed(struct client *c) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        lose(c);
        return;
    }
    watch_for(c->fd, (uint32_t)(c - clients), EPOLLIN, EPOLL_CTL_MOD);
    send_request(c);
}

/* Reads what is there; returns whether stdin or the timer is ready, whichever is watched. */
static bool pump(int timeout_ms) {
    struct epoll_event events[EVENTS];
    bool called = false;
    int n = epoll_wait(poller, events, EVENTS, timeout_ms);
    for (int i = 0; i < n; i++)
        if (events[i].data.u32 >= FROM_STDIN)
            called = true;
        else if (clients[events[i].data.u32].stage == DIALING)
            on_dialed(&clients[events[i].data.u32]);
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
