// The sample program in Go.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Println("hello from go, wasi 0.1")
	for i, arg := range os.Args[1:] {
		fmt.Printf("arg %d: %s\n", i+1, arg)
	}
	if greeting, ok := os.LookupEnv("GREETING"); ok {
		fmt.Println("greeting:", greeting)
	}
}
