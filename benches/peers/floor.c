/* The floor: an epoll loop that receives requests, does not parse them, and sends a constant.
 * floor PORT BYTES keep|close
 * It needs one request per segment, no pipelining and no uploads. The benchmarks keep to that. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS_MAX = 512, REQUEST_BYTES_MAX = 8192, HEAD_BYTES_MAX = 256, DESCRIPTORS_MAX = 65536 };

static char *answer;
static size_t answer_bytes;
/* By descriptor: bytes of the answer that have been sent; answer_bytes if no answer is due. */
static size_t sent[DESCRIPTORS_MAX];
static int closes;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void build_answer(size_t bytes) {
    static const char pattern[] = "0123456789ABCDEF";
    answer = malloc(HEAD_BYTES_MAX + bytes);
    if (!answer)
        fail("malloc");
    int head = snprintf(answer, HEAD_BYTES_MAX,
                        "HTTP/1.1 200 OK\r\nCache-Control: no-cache, no-transform\r\n"
                        "Content-Type: text/plain\r\nContent-Length: %zu\r\n"
                        "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n",
                        bytes);
    for (size_t i = 0; i < bytes; i++)
        answer[head + i] = pattern[i % 16];
    answer_bytes = head + bytes;
}

static int listen_on(int port) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096))
        fail("listen");
    return listener;
}

static void watch(int epoll, int operation, int descriptor, unsigned events) {
    struct epoll_event event = {.events = events, .data.fd = descriptor};
    if (epoll_ctl(epoll, operation, descriptor, &event))
        fail("epoll_ctl");
}

static void accept_all(int epoll, int listener) {
    int peer;
    while ((peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (peer >= DESCRIPTORS_MAX) {
            close(peer);
            continue;
        }
        sent[peer] = answer_bytes;
        watch(epoll, EPOLL_CTL_ADD, peer, EPOLLIN);
    }
}

static void serve(int epoll, int peer) {
    static char request[REQUEST_BYTES_MAX];
    int waited = sent[peer] < answer_bytes;
    if (!waited) {
        if (recv(peer, request, sizeof request, 0) <= 0) {
            close(peer);
            return;
        }
        sent[peer] = 0;
    }
    ssize_t n = send(peer, answer + sent[peer], answer_bytes - sent[peer], MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) {
        close(peer);
        return;
    }
    sent[peer] += n > 0 ? n : 0;
    int owes = sent[peer] < answer_bytes;
    if (owes != waited)
        watch(epoll, EPOLL_CTL_MOD, peer, owes ? EPOLLOUT : EPOLLIN);
    if (!owes && closes)
        close(peer);
}

int main(int count, char **arguments) {
    if (count != 4) {
        fprintf(stderr, "usage: floor PORT BYTES keep|close\n");
        return 2;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    build_answer(strtoul(arguments[2], NULL, 10));
    closes = !strcmp(arguments[3], "close");
    int listener = listen_on(atoi(arguments[1]));
    int epoll = epoll_create1(0);
    watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN);
    static struct epoll_event events[EVENTS_MAX];
    for (;;) {
        int ready = epoll_wait(epoll, events, EVENTS_MAX, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.fd == listener)
                accept_all(epoll, listener);
            else
                serve(epoll, events[i].data.fd);
        }
    }
}
