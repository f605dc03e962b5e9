// Command tool is what `go vet` calls in the test: a program small enough to be started for every dependency.
package main

import "github.com/towpath/towpath/internal/vet"

func main() { vet.Tool() }
