#!/usr/bin/env python3
"""Two TUN devices with a delay between them, for tests: a path with known delay and loss.

    path_relay.py NEAR FAR DELAY_MS LOSS_UP LOSS_DOWN

Forwards packets from NEAR to FAR and back, each after DELAY_MS, and drops the given share of each
direction. Prints "ready" when both devices exist, and runs until it is killed.
"""

import collections
import fcntl
import os
import random
import select
import struct
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
PACKET_MAX = 65536
# Packets beyond this are dropped, as in any full queue.
QUEUE_MAX = 10_000


def device(name):
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    return descriptor


def receive(source, loss, queue, delay):
    """Reads all packets that have arrived, and queues each with the time when it is due."""
    while True:
        try:
            packet = os.read(source, PACKET_MAX)
        except BlockingIOError:
            return
        if len(queue) < QUEUE_MAX and random.random() >= loss:
            queue.append((time.monotonic() + delay, packet))


def send(queue, destination):
    """Forwards the packets that are due; returns how long the next one still has to wait."""
    while queue:
        wait = queue[0][0] - time.monotonic()
        if wait > 0:
            return wait
        try:
            os.write(destination, queue.popleft()[1])
        except OSError:
            # The other end is down: a cable would lose the packet, too.
            pass
    return None


def main():
    near, far = device(sys.argv[1]), device(sys.argv[2])
    delay, loss_up, loss_down = float(sys.argv[3]) / 1000, float(sys.argv[4]), float(sys.argv[5])
    print("ready", flush=True)
    up, down = collections.deque(), collections.deque()
    while True:
        waits = [wait for wait in (send(up, far), send(down, near)) if wait is not None]
        # select() waits in microseconds. poll() waits in whole milliseconds: for the rest, this
        # loop would keep the CPU from the programs whose time is measured.
        select.select([near, far], [], [], min(waits, default=None))
        receive(near, loss_up, up, delay)
        receive(far, loss_down, down, delay)


main()
