/*
 * rawsend: the least that a quote server can do, as the floor that the others are held against.
 *
 * It speaks just enough Engine.IO 4 for the load generator. An update is put together once and
 * written with one blocking send(2) to each client that watches it; when many symbols change at
 * once, the frames of a client go out joined in one send. No heartbeat, no masking (the generator
 * masks with zeros), no limits: nothing to use anywhere else.
 *
 * Prints {"port":…,"control":…,"version":…} when it listens; control lines are "<first> <count>",
 * and "collect", which it answers with "ok".
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FD = 65536, MAX_SYMBOLS = 100000, FRAME = 512, JOINED = 1 << 20 };

struct list {
    int *items, size;
};

static struct list watchers[MAX_SYMBOLS], watched[MAX_FD];
static uint32_t published[MAX_SYMBOLS];
static char frames[MAX_SYMBOLS][FRAME];
static uint16_t frame_sizes[MAX_SYMBOLS];
static int fd_limit;

static void append(struct list *list, int item) {
    /* Grows at each power of two. */
    if ((list->size & (list->size - 1)) == 0)
        list->items = realloc(list->items, sizeof(int) * (size_t)(list->size ? list->size * 2 : 1));
    if (list->items == NULL)
        exit(1);
    list->items[list->size++] = item;
}

static size_t put_frame(char *frame, const char *text, size_t size) {
    size_t head = size < 126 ? 2 : 4;
    frame[0] = (char)0x81;
    frame[1] = (char)(size < 126 ? size : 126);
    if (size >= 126) {
        frame[2] = (char)(size >> 8);
        frame[3] = (char)size;
    }
    memcpy(frame + head, text, size);
    return head + size;
}

static void send_all(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        data += sent;
        size -= (size_t)sent;
    }
}

static void send_text(int fd, const char *text) {
    static char frame[JOINED];
    send_all(fd, frame, put_frame(frame, text, strlen(text)));
}

static void make_update(int i) {
    char text[FRAME];
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    long long ms = (long long)t.tv_sec * 1000 + t.tv_nsec / 1000000;
    double price = 100 + published[i]++ % 1000 / 100.0;
    int size = snprintf(text, sizeof text,
                        "42[\"stock_update_S%05d\",{\"type\":\"stock_update_S%05d\",\"payload\":{"
                        "\"symbol\":\"S%05d\",\"price\":%.2f,\"change\":1.25,\"changePercent\":1.26,"
                        "\"volume\":1234567.0,\"timestamp\":%lld,\"seq\":%u,\"epoch\":\"bench\","
                        "\"bid\":99.99,\"ask\":100.01,\"dayHigh\":112.5,\"dayLow\":98.75,"
                        "\"open\":99.5,\"previousClose\":98.75},\"timestamp\":%lld}]",
                        i, i, i, price, ms, published[i], ms);
    frame_sizes[i] = (uint16_t)put_frame(frames[i], text, (size_t)size);
}

static void send_joined(int fd, int first, int count) {
    static char joined[JOINED];
    size_t size = 0;
    for (int n = 0; n < watched[fd].size; n++) {
        int i = watched[fd].items[n];
        if (i < first || i >= first + count || size + FRAME > JOINED)
            continue;
        memcpy(joined + size, frames[i], frame_sizes[i]);
        size += frame_sizes[i];
    }
    send_all(fd, joined, size);
}

static void publish(int first, int count) {
    for (int i = first; i < first + count; i++)
        make_update(i);
    if (count == 1)
        for (int n = 0; n < watchers[first].size; n++)
            send_all(watchers[first].items[n], frames[first], frame_sizes[first]);
    else
        for (int fd = 0; fd <= fd_limit; fd++)
            send_joined(fd, first, count);
}

/* Requests of the generator are small: each arrives in one piece. */
static void on_client(int fd) {
    static char data[65537];
    static const char name[] = "stock_update_S";
    ssize_t size = recv(fd, data, sizeof data - 1, 0);
    if (size <= 0) {
        close(fd);
        watched[fd].size = 0;
        return;
    }
    data[size] = 0;
    if (memcmp(data, "GET ", 4) == 0) {
        static const char upgraded[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                                       "Connection: Upgrade\r\n\r\n";
        send_all(fd, upgraded, sizeof upgraded - 1);
        send_text(fd, "0{\"sid\":\"x\",\"upgrades\":[],\"pingInterval\":25000,\"pingTimeout\":20000}");
    } else if (memmem(data, (size_t)size, name, sizeof name - 1) != NULL) {
        char *at = data;
        while ((at = memmem(at, (size_t)(data + size - at), name, sizeof name - 1)) != NULL) {
            at += sizeof name - 1;
            append(&watchers[atoi(at)], fd);
            append(&watched[fd], atoi(at));
        }
        send_text(fd, "42[\"subscribed\",{\"events\":[]}]");
    } else {
        send_text(fd, "40{\"sid\":\"x\"}");
    }
    if (fd > fd_limit)
        fd_limit = fd;
}

/* Returns 0 when the one who gives the orders has gone. */
static int on_control(FILE *from, int fd) {
    char line[64];
    int first, count;
    if (fgets(line, sizeof line, from) == NULL)
        return 0;
    if (sscanf(line, "%d %d", &first, &count) == 2)
        publish(first, count);
    else
        send_all(fd, "ok\n", 3);
    return 1;
}

static int listen_any(int *port) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, (struct sockaddr *)&address, size) < 0 || listen(fd, 4096) < 0)
        exit(1);
    getsockname(fd, (struct sockaddr *)&address, &size);
    *port = ntohs(address.sin_port);
    return fd;
}

int main(void) {
    static FILE *controls[MAX_FD];
    int port, control_port, poller = epoll_create1(0), on = 1;
    int listener = listen_any(&port), control = listen_any(&control_port);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[512];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    event.data.fd = control;
    epoll_ctl(poller, EPOLL_CTL_ADD, control, &event);
    printf("{\"port\":%d,\"control\":%d,\"version\":\"\"}\n", port, control_port);
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(poller, events, 512, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener || fd == control) {
                event.data.fd = accept(fd, NULL, NULL);
                setsockopt(event.data.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                epoll_ctl(poller, EPOLL_CTL_ADD, event.data.fd, &event);
                if (fd == control && (controls[event.data.fd] = fdopen(event.data.fd, "r")) != NULL)
                    setvbuf(controls[event.data.fd], NULL, _IONBF, 0);
            } else if (controls[fd] == NULL) {
                on_client(fd);
            } else if (!on_control(controls[fd], fd)) {
                fclose(controls[fd]);
                controls[fd] = NULL;
            }
        }
    }
}
