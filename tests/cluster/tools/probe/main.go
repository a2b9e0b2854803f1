// Command probe is everything that a pod of the harness's own tests runs, in an image of this one file.
//
//	probe pause               hold a pod's namespaces: the sandbox image
//	probe sidecar ADDRESS     listen there after a while; end when told to
//	probe agent ADDRESS       dial that at the start, and again a while after being told to end
//	probe eternal             run until killed
//	probe read FILE           for exec
//	probe write FILE TEXT     for exec
//	probe eat                 take memory until stopped
//
// Each event is one line: nanoseconds since 1970, who, what.
package main

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const delay = time.Second // long enough that a wrong order shows

func tell(who, what string) { fmt.Println(time.Now().UnixNano(), who, what) }

func dial(address string) string {
	connection, err := net.DialTimeout("tcp", address, delay)
	if err != nil {
		return "refused"
	}
	connection.Close()
	return "reached"
}

func main() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	switch role := os.Args[1]; role {
	case "pause":
		<-ended
	case "eternal":
		select {}
	case "sidecar":
		tell(role, "started")
		time.Sleep(delay)
		listener, err := net.Listen("tcp", os.Args[2])
		if err != nil {
			tell(role, err.Error())
			os.Exit(1)
		}
		tell(role, "listens")
		go func() {
			for {
				if connection, err := listener.Accept(); err == nil {
					connection.Close()
				}
			}
		}()
		<-ended
		tell(role, "ended")
	case "agent":
		tell(role, "started")
		tell(role, dial(os.Args[2]))
		<-ended
		tell(role, "told to end")
		time.Sleep(delay)
		tell(role, dial(os.Args[2]))
		tell(role, "ended")
	case "read":
		read, err := os.ReadFile(os.Args[2])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Stdout.Write(read)
	case "write":
		if err := os.WriteFile(os.Args[2], []byte(os.Args[3]), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case "eat":
		var eaten [][]byte
		for {
			more := make([]byte, 1<<20)
			for i := range more {
				more[i] = 1
			}
			eaten = append(eaten, more)
		}
	default:
		fmt.Fprintln(os.Stderr, "probe: found", role)
		os.Exit(2)
	}
}
