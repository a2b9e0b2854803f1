// The load generator and the upstream of the egress benchmark; standard library only.
package main

import (
	"fmt"
	"os"
)

func main() {
	programs := map[string]func([]string) error{"upstream": upstream, "load": load}
	if len(os.Args) < 2 || programs[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: egress upstream|load …")
		os.Exit(2)
	}
	if err := programs[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
