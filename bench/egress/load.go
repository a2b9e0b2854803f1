package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

type headers http.Header

func (h headers) String() string { return "" }

func (h headers) Set(line string) error {
	name, value, found := strings.Cut(line, ":")
	if !found {
		return fmt.Errorf("%q is no header", line)
	}
	http.Header(h).Add(name, strings.TrimSpace(value))
	return nil
}

// figures are in milliseconds, `rate` in requests a second. `first` is the time to the first byte of the body, and
// `asked` counts the requests that are in no figure too.
type figures struct {
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
	Rate  float64 `json:"rate"`
	First float64 `json:"first"`
	Asked int     `json:"asked"`
}

type caller struct {
	client  *http.Client
	url     string
	headers http.Header
	body    []byte
	want    string
}

// load has so many callers ask for so long, each again as soon as it is answered, and prints figures as JSON.
// An answer that is not 200, or lacks `-want`, ends it: a refusal is not measured as if it were fast.
func load(arguments []string) error {
	flags := flag.NewFlagSet("load", flag.ExitOnError)
	url := flags.String("url", "", "where to post what standard input holds")
	callers := flags.Int("callers", 1, "how many ask at once")
	lasting := flags.Duration("for", 2*time.Second, "for how long")
	warm := flags.Duration("warm", 300*time.Millisecond, "for how long beforehand, uncounted")
	want := flags.String("want", "chatcmpl", "what each answer must contain")
	added := headers{}
	flags.Var(added, "header", "name: value; may be repeated")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	body, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	transport := &http.Transport{MaxIdleConnsPerHost: *callers, DisableCompression: true}
	one := caller{&http.Client{Transport: transport, Timeout: time.Minute}, *url, http.Header(added), body, *want}
	before, err := run(one, *callers, *warm)
	if err != nil {
		return err
	}
	told, err := run(one, *callers, *lasting)
	if err != nil {
		return err
	}
	told.Asked += before.Asked
	return json.NewEncoder(os.Stdout).Encode(told)
}

func run(one caller, callers int, lasting time.Duration) (figures, error) {
	var (
		group   sync.WaitGroup
		failed  atomic.Pointer[error]
		first   = make([][]time.Duration, callers)
		whole   = make([][]time.Duration, callers)
		started = time.Now()
	)
	for n := range callers {
		group.Add(1)
		go func() {
			defer group.Done()
			for again := true; again; again = failed.Load() == nil && time.Since(started) < lasting {
				start, end, err := one.ask()
				if err != nil {
					failed.Store(&err)
					return
				}
				first[n], whole[n] = append(first[n], start), append(whole[n], end)
			}
		}()
	}
	group.Wait()
	seconds := time.Since(started).Seconds()
	if err := failed.Load(); err != nil {
		return figures{}, *err
	}
	all := slices.Concat(whole...)
	rate := float64(len(all)) / seconds
	return figures{at(all, 0.5), at(all, 0.99), rate, at(slices.Concat(first...), 0.5), len(all)}, nil
}

func at(taken []time.Duration, share float64) float64 {
	slices.Sort(taken)
	return float64(taken[min(len(taken)-1, int(float64(len(taken))*share))].Nanoseconds()) / 1e6
}

// ask returns the time to the first byte of the body, and to its end.
func (one caller) ask() (first, whole time.Duration, err error) {
	request, err := http.NewRequest(http.MethodPost, one.url, bytes.NewReader(one.body))
	if err != nil {
		return 0, 0, err
	}
	request.Header = one.headers.Clone()
	request.Header.Set("Content-Type", "application/json")
	started := time.Now()
	response, err := one.client.Do(request)
	if err != nil {
		return 0, 0, err
	}
	defer response.Body.Close()
	start := make([]byte, 1)
	if _, err = io.ReadFull(response.Body, start); err != nil {
		return 0, 0, fmt.Errorf("status %d without a body: %w", response.StatusCode, err)
	}
	first = time.Since(started)
	rest, err := io.ReadAll(response.Body)
	whole = time.Since(started)
	if err == nil && (response.StatusCode != http.StatusOK || !bytes.Contains(rest, []byte(one.want))) {
		err = fmt.Errorf("status %d: %.300s%.300s", response.StatusCode, start, rest)
	}
	return first, whole, err
}
