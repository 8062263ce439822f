"""Writes how h11 or httptools reads messages: a line of hexadecimal digits in, a verdict out.

A verdict has three columns, separated by tabs: the lengths of the bodies that were read whole, how
the connection ended (idle, waits, close, refuses), and the reason in the oracle's own words.
"""

import sys


def h11_verdict(data):
    import h11

    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    lengths = []
    in_message = False
    if data:  # An empty call would mean the end of the connection.
        connection.receive_data(data)
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            return lengths, "refuses", str(error)
        if event is h11.NEED_DATA:
            waits = in_message or connection.trailing_data[0]
            return lengths, "waits" if waits else "idle", ""
        if event is h11.PAUSED:
            return lengths, "close", ""
        if isinstance(event, h11.Request):
            in_message, length = True, 0
        elif isinstance(event, h11.Data):
            length += len(event.data)
        elif isinstance(event, h11.EndOfMessage):
            lengths.append(length)
            in_message = False
            # Not a 2xx: after CONNECT it would switch protocols.
            answer = [("Content-Length", "0")]
            connection.send(h11.Response(status_code=404, headers=answer))
            connection.send(h11.EndOfMessage())
            if connection.our_state is h11.MUST_CLOSE:
                return lengths, "close", ""
            connection.start_next_cycle()


class Messages:
    """The callbacks of httptools."""

    def __init__(self):
        self.lengths = []
        self.in_message = False
        self.length = 0

    def on_message_begin(self):
        self.in_message, self.length = True, 0

    def on_body(self, body):
        self.length += len(body)

    def on_message_complete(self):
        self.in_message = False
        self.lengths.append(self.length)


def httptools_verdict(data):
    import httptools

    messages = Messages()
    try:
        httptools.HttpRequestParser(messages).feed_data(data)
    except httptools.HttpParserUpgrade:
        return messages.lengths, "close", "upgrade"
    except httptools.HttpParserError as error:
        return messages.lengths, "refuses", str(error)
    return messages.lengths, "waits" if messages.in_message else "idle", ""


def main():
    verdict = {"h11": h11_verdict, "httptools": httptools_verdict}[sys.argv[1]]
    for line in sys.stdin:
        lengths, ending, reason = verdict(bytes.fromhex(line))
        words = " ".join(reason.split()).encode("ascii", "replace").decode()
        print(",".join(map(str, lengths)), ending, words, sep="\t")


main()
