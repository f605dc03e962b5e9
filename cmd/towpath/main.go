// Command towpath is Towpath with its built-in kinds of jobs: http, sql and shell. A program with kinds of its own calls cmd.Main in the
// same way.
package main

import (
	"os"

	"github.com/towpath/towpath/cmd"
	"github.com/towpath/towpath/workers"
)

func main() { os.Exit(cmd.Main(workers.NewBundle())) }
