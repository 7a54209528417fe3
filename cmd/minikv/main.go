// Command minikv is an S3-compatible object store in one binary, and its command line.
package main

import (
	"os"

	"minikv/cmd/minikv/command"
)

func main() { os.Exit(command.Main(os.Args[1:])) }
