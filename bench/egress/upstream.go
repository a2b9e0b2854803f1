package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

const (
	chunks = 20
	pace   = 5 * time.Millisecond
)

// upstream answers OpenAI chat completions: whole (about 2 kB), or as events, one each `pace`.
// It prints its address once it listens.
func upstream(arguments []string) error {
	flags := flag.NewFlagSet("upstream", flag.ExitOnError)
	address := flags.String("listen", "127.0.0.1:0", "where to listen")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", complete)
	return http.Serve(listener, mux)
}

var whole = []byte(`{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"gpt-4o-mini",` +
	`"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"` +
	strings.Repeat("measured words ", 120) + `"}}],"usage":` + usage + `}`)

const usage = `{"prompt_tokens":120,"completion_tokens":240,"total_tokens":360}`

func complete(writer http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	var asked struct{ Stream bool }
	if err == nil {
		err = json.Unmarshal(body, &asked)
	}
	if err != nil {
		http.Error(writer, err.Error(), http.StatusBadRequest)
		return
	}
	if asked.Stream {
		stream(writer)
		return
	}
	writer.Header().Set("Content-Type", "application/json")
	writer.Header().Set("Content-Length", fmt.Sprint(len(whole)))
	_, _ = writer.Write(whole)
}

func stream(writer http.ResponseWriter) {
	writer.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(writer)
	const head = `data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-mini",`
	for n := range chunks {
		if n > 0 {
			time.Sleep(pace)
		}
		fmt.Fprintf(writer, head+`"choices":[{"index":0,"delta":{"content":"word %d "},"finish_reason":null}]}`+"\n\n", n)
		if out.Flush() != nil {
			return
		}
	}
	fmt.Fprint(writer, head+`"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`+"\n\n")
	fmt.Fprint(writer, head+`"choices":[],"usage":`+usage+"}\n\ndata: [DONE]\n\n")
}
