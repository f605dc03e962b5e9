// Package assets holds what monitoring systems read: rules for Prometheus, dashboards for Grafana, and the configuration
// with which compose.yaml runs both.
//
// A dashboard is what Grafana exports; to change one, change it there and write the file anew. Every query of every panel
// is run by the tests of package monitor, and the rules have cases in rules.test.yaml.
package assets

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

//go:embed rules.yaml dashboards/*.json
var files embed.FS

// Rules are the recording and alert rules, a rule file of Prometheus.
func Rules() []byte {
	rules, err := files.ReadFile("rules.yaml")
	if err != nil {
		panic(err) // it is embedded
	}
	return rules
}

// Dashboards lists the names of the dashboards.
func Dashboards() []string {
	found, err := fs.Glob(files, "dashboards/*.json")
	if err != nil {
		panic(err) // the pattern is right
	}
	names := make([]string, len(found))
	for i, file := range found {
		names[i] = strings.TrimSuffix(path.Base(file), ".json")
	}
	return names
}

// Dashboard returns the dashboard of a name as Grafana's JSON.
func Dashboard(name string) ([]byte, error) {
	names := Dashboards()
	if !slices.Contains(names, name) {
		return nil, fmt.Errorf("dashboard %q does not exist; there are %s", name, strings.Join(names, ", "))
	}
	return files.ReadFile("dashboards/" + name + ".json")
}
