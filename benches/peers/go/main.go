// A Go net/http server that answers /heartbeat/{n} as the Go program of the same name does: it
// writes a buffer of 1 KiB until n bytes are written, so that longer answers are chunked. It reads
// request bodies to their end.
package main

import (
	"flag"
	"io"
	"log"
	"net/http"
	"strconv"
	"strings"
)

const (
	prefix   = "/heartbeat/"
	bytesMax = 1 << 30
)

var buffer = []byte(strings.Repeat("0123456789ABCDEF", 64))

func answer(w http.ResponseWriter, r *http.Request) {
	size, err := strconv.Atoi(r.URL.Path[len(prefix):])
	if err != nil || size < 1 || size > bytesMax {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return
	}
	header := w.Header()
	header.Set("Cache-Control", "no-cache")
	header.Set("Content-Type", "text/plain")
	for size > 0 {
		n := min(size, len(buffer))
		if _, err := w.Write(buffer[:n]); err != nil {
			return
		}
		size -= n
	}
}

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}

func main() {
	address := flag.String("a", "127.0.0.1:8080", "address to listen on")
	flag.Parse()
	http.HandleFunc(prefix, answer)
	log.Fatal(http.ListenAndServe(*address, nil))
}
