// Command kubecheck holds Kubernetes manifests to their schemas, those of Kubernetes itself and of KEDA, and to each
// other: selectors find pods, ports and settings that are named exist, pods have the time to end that their configuration
// promises. It asks no cluster. The schemas come out of the modules of both projects, by way of Go's module proxy.
//
//	kubecheck DIRECTORY
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: kubecheck DIRECTORY")
		os.Exit(2)
	}
	problems, count, err := check(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "kubecheck:", err)
		os.Exit(1)
	}
	for _, problem := range problems {
		fmt.Fprintln(os.Stderr, "kubecheck:", problem)
	}
	if len(problems) > 0 {
		os.Exit(1)
	}
	fmt.Printf("%s: %d objects\n", os.Args[1], count)
}

// check returns what is wrong with the manifests of a directory, and how many objects it has.
func check(directory string) (problems []string, count int, err error) {
	files, err := filepath.Glob(filepath.Join(directory, "*.yaml"))
	if err != nil {
		return nil, 0, err
	}
	if len(files) == 0 {
		return nil, 0, fmt.Errorf("no manifests in %q", directory)
	}
	objects, err := readAll(files)
	if err != nil {
		return nil, 0, err
	}
	schemas, err := loadSchemas()
	if err != nil {
		return nil, 0, err
	}
	for _, o := range objects {
		if o.kind == "Kustomization" {
			problems = append(problems, resourcesExist(directory, o)...)
			continue
		}
		problems = append(problems, schemas.validate(o)...)
	}
	return append(problems, together(objects)...), len(objects), nil
}
