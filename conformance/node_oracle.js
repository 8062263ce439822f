// Writes how Node.js reads messages: a line of hexadecimal digits in, a verdict out, in the format
// of python_oracle.py. Each message goes to a real server over its own connection.
"use strict";

const http = require("node:http");
const net = require("node:net");
const readline = require("node:readline");

// What the server has seen of each connection, by the port of the client.
const verdicts = new Map();
const verdictOf = (socket) => verdicts.get(socket.remotePort);

function take(request, response) {
  const verdict = verdictOf(request.socket);
  let length = 0;
  verdict.waits = true;
  request.on("data", (data) => (length += data.length));
  request.on("end", () => {
    verdict.waits = false;
    verdict.lengths.push(length);
    response.end();
  });
}

const options = { insecureHTTPParser: false, maxHeaderSize: 1 << 20, allowHalfOpen: true };
const server = http.createServer(options, take);
server.on("checkContinue", take);
server.on("checkExpectation", take);
server.on("connection", (socket) => {
  verdicts.set(socket.remotePort, { lengths: [], waits: false, reason: "" });
});
server.on("clientError", (error, socket) => {
  const verdict = verdictOf(socket);
  // An incomplete message is not a mistake.
  if (error.code === "HPE_INVALID_EOF_STATE") verdict.waits = true;
  else if (error.code !== "ECONNRESET") verdict.reason = `${error.code} ${error.reason ?? ""}`;
  socket.destroy();
});

function judge(bytes) {
  return new Promise((resolve) => {
    const client = net.connect(server.address().port, "127.0.0.1");
    let port = 0;
    let received = "";
    client.on("connect", () => {
      port = client.localPort;
      client.end(bytes);
    });
    client.on("data", (data) => (received += data.toString("latin1")));
    client.on("error", () => {});
    client.on("close", () => {
      const verdict = verdicts.get(port);
      verdicts.delete(port);
      // Node.js answers a missing Host itself, and raises no event.
      if (received.includes("HTTP/1.1 400 ")) verdict.reason ||= "400 of its own";
      const closed = received.includes("\r\nConnection: close\r\n");
      const whole = closed ? "close" : "idle";
      const ending = verdict.reason ? "refuses" : verdict.waits ? "waits" : whole;
      resolve([verdict.lengths.join(","), ending, verdict.reason].join("\t"));
    });
  });
}

server.listen(0, "127.0.0.1", async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    console.log(await judge(Buffer.from(line, "hex")));
  }
  server.close();
  server.closeAllConnections();
});
