"""Why this server may accept what another implementation refuses, with the section of the RFC."""

import re

# The reasons for a rejection by this server, and the sections of the RFCs behind each.
REFUSALS_HERE = {
    "LineEnding": "9112 2.2",
    "EmptyLines": "9112 2.2",
    "Method": "9112 3, 3.1; 9110 5.6.2",
    "MethodTooLong": "9112 3",
    "Target": "9112 3.2; 3986 2, 3, 7.3",
    "TargetTooLong": "9112 3; 9110 15.5.15",
    "Tunnel": "9110 9.3.6",
    "VersionMalformed": "9112 2.3, 3",
    "VersionUnsupported": "9110 15.6.6",
    "FieldLine": "9112 5, 5.1, 5.2; 9110 5.5",
    "HeadTooLarge": "9110 5.4; 6585 5",
    "Host": "9112 3.2; 9110 7.2, 4.2.1, 4.2.4",
    "ContentLength": "9112 6.3; 9110 8.6",
    "FramingConflict": "9112 6.1, 6.3, 11.2",
    "TransferEncoding": "9112 6.1, 6.3, 7.1",
    "TransferCodingUnknown": "9112 6.1",
    "Chunk": "9112 7.1, 7.1.1, 7.1.2",
    "TrailersTooLarge": "9110 6.5; 6585 5",
    "BodyTooLarge": "9110 15.5.14",
}

EMPTY_MEMBER = re.compile(rb"(?im)^transfer-encoding:[ \t]*(,|[^\r\n]*,[ \t]*[,\r])")
TAB_AFTER_VALUE = re.compile(rb"(?im)^(transfer-encoding|content-length):[^\r\n]*\t[ \t]*\r")
LENGTH_IN_TRAILER = re.compile(
    rb"(?i)\r\n0+(;[^\r\n]*)?\r\n([^\r\n]+\r\n)*(transfer-encoding|content-length):"
)
SPACED_EXTENSION = re.compile(rb"(?im)^[0-9a-f]+[^\r\n]*([ \t]+[;=]|[;=][ \t]+)")
OBS_TEXT_EXTENSION = re.compile(rb'(?im)^[0-9a-f]+[^\r\n]*;[^\r\n]*"[^\r\n]*[\x80-\xff]')
ENCODED_HOST = re.compile(rb"(?i) http://[^/? ]*%")
UPGRADE = re.compile(rb"(?i)\r\nupgrade:")
KEPT_HTTP_1_0 = re.compile(rb"(?is)HTTP/1\.0\r\n.*keep-alive")

LLHTTP = ("httptools", "node")
ANY = ("h11", "httptools", "hyper", "node")

# The oracles, a pattern for their reason, a pattern that the message must contain, the explanation.
EXPLANATIONS = [
    (LLHTTP, r"[Ii]nvalid method|space after method", None,
     "9110 9.1, 15.6.2: an unknown method is answered 501, and its message has a length"),
    (("h11",), r"no request line received", None,
     "9112 2.2: an empty line before a request line is ignored"),
    (ANY, r"Transfer.?Encoding", EMPTY_MEMBER,
     "9110 5.6.1.2: empty list members must be parsed and ignored"),
    (LLHTTP, r"Transfer-Encoding|Content-Length", TAB_AFTER_VALUE,
     "9110 5.6.3: a tab after a value is optional whitespace"),
    (ANY, r"Transfer-Encoding|Content-Length", LENGTH_IN_TRAILER,
     "9110 6.5.1: trailer fields are dropped, and never frame"),
    (("h11", *LLHTTP), r"chunk (header|size|extensions)", SPACED_EXTENSION,
     "9112 7.1.1; 9110 5.6.3: whitespace in a chunk extension must be parsed"),
    (LLHTTP, r"chunk extensions quot", OBS_TEXT_EXTENSION,
     "9110 5.6.4: a quoted string may hold obs-text"),
    (("hyper",), r"Parse\(Uri\)", ENCODED_HOST,
     "3986 3.2.2: a host may hold percent-encodings"),
    (LLHTTP, r"upgrade", UPGRADE,
     "9110 7.8: an upgrade may be ignored"),
    (("h11",), r"^$", KEPT_HTTP_1_0,
     "9112 C.2.2: HTTP/1.0 with keep-alive may be kept"),
]


def explain(oracle, message, verdict):
    """The explanation of a difference; None if there is none."""
    data = bytes.fromhex(message.data)
    if verdict.ending not in ("refuses", "close"):
        return None
    for oracles, reason, pattern, text in EXPLANATIONS:
        known = oracle in oracles and re.search(reason, verdict.reason)
        if known and (pattern is None or pattern.search(data)):
            if "9.1" in text and not next_status_is(message, verdict, "501"):
                continue
            return text
    return None


def next_status_is(message, verdict, status):
    statuses = message.statuses.split(",")[len(verdict.lengths):]
    return statuses[:1] == [status]
