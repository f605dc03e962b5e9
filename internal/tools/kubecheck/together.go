package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v3"
)

// object is one document of a manifest.
type object struct {
	file, apiVersion, kind, name string
	value                        map[string]any
}

func (o object) String() string {
	return fmt.Sprintf("%s: %s %s", filepath.Base(o.file), o.kind, o.name)
}

func readAll(files []string) ([]object, error) {
	var all []object
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		decoder := yaml.NewDecoder(bytes.NewReader(raw))
		for {
			var value map[string]any
			err := decoder.Decode(&value)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", file, err)
			}
			all = append(all, object{file, text(value["apiVersion"]), text(value["kind"]), text(at(value, "metadata", "name")), value})
		}
	}
	return all, nil
}

// at follows keys into a value; nil when there is nothing.
func at(value any, keys ...string) any {
	for _, key := range keys {
		m, _ := value.(map[string]any)
		value = m[key]
	}
	return value
}

func list(value any) []any { l, _ := value.([]any); return l }

// spare is how much longer than TOWPATH_GRACE a pod must have to end.
const spare = 10 * time.Second

// together checks what no schema knows: whether objects fit each other.
func together(objects []object) (problems []string) {
	find := func(kind, name string) *object {
		for i := range objects {
			if objects[i].kind == kind && objects[i].name == name {
				return &objects[i]
			}
		}
		return nil
	}
	report := func(o object, format string, args ...any) {
		problems = append(problems, o.String()+": "+fmt.Sprintf(format, args...))
	}
	pods := map[string][]object{}
	for _, o := range objects {
		switch o.kind {
		case "Deployment", "Job":
			pods[o.kind] = append(pods[o.kind], o)
			problems = append(problems, podProblems(o, find)...)
			if o.kind == "Deployment" && !selects(at(o.value, "spec", "selector", "matchLabels"), o) {
				report(o, "its selector does not find its own pods")
			}
		case "ScaledObject":
			if find("Deployment", text(at(o.value, "spec", "scaleTargetRef", "name"))) == nil {
				report(o, "it scales a deployment that is not there")
			}
			for _, trigger := range list(at(o.value, "spec", "triggers")) {
				if name := text(at(trigger, "authenticationRef", "name")); name != "" && find("TriggerAuthentication", name) == nil {
					report(o, "there is no TriggerAuthentication %q", name)
				}
			}
		}
	}
	for _, o := range objects {
		var selector any
		switch o.kind {
		case "Service":
			selector = at(o.value, "spec", "selector")
		case "PodDisruptionBudget":
			selector = at(o.value, "spec", "selector", "matchLabels")
		default:
			continue
		}
		var found *object
		for i := range pods["Deployment"] {
			if selects(selector, pods["Deployment"][i]) {
				found = &pods["Deployment"][i]
			}
		}
		if found == nil {
			report(o, "its selector finds no pods")
			continue
		}
		for _, port := range list(at(o.value, "spec", "ports")) {
			if name := text(at(port, "targetPort")); !ports(*found)[name] {
				report(o, "the pods have no port %q", name)
			}
		}
	}
	return problems
}

func podProblems(o object, find func(kind, name string) *object) (problems []string) {
	spec := at(o.value, "spec", "template", "spec")
	for _, container := range list(at(spec, "containers")) {
		for _, from := range list(at(container, "envFrom")) {
			for key, kind := range map[string]string{"configMapRef": "ConfigMap", "secretRef": "Secret"} {
				name := text(at(from, key, "name"))
				if name == "" {
					continue
				}
				settings := find(kind, name)
				if settings == nil {
					problems = append(problems, fmt.Sprintf("%s: there is no %s %q", o, kind, name))
					continue
				}
				grace, err := time.ParseDuration(text(at(settings.value, "data", "TOWPATH_GRACE")))
				seconds, _ := at(spec, "terminationGracePeriodSeconds").(int)
				if err == nil && o.kind == "Deployment" && time.Duration(seconds)*time.Second < grace+spare {
					problems = append(problems, fmt.Sprintf("%s: terminationGracePeriodSeconds %d is less than TOWPATH_GRACE and %s", o, seconds, spare))
				}
			}
		}
		for _, probe := range []string{"startupProbe", "livenessProbe", "readinessProbe"} {
			name := text(at(container, probe, "httpGet", "port"))
			if o.kind == "Deployment" && !ports(o)[name] {
				problems = append(problems, fmt.Sprintf("%s: its %s asks port %q, which it does not have", o, probe, name))
			}
		}
	}
	return problems
}

// ports are the names of a workload's ports.
func ports(o object) map[string]bool {
	names := map[string]bool{}
	for _, container := range list(at(o.value, "spec", "template", "spec", "containers")) {
		for _, port := range list(at(container, "ports")) {
			names[text(at(port, "name"))] = true
		}
	}
	return names
}

// selects reports whether a selector finds the pods of a workload.
func selects(selector any, o object) bool {
	wanted, _ := selector.(map[string]any)
	labels, _ := at(o.value, "spec", "template", "metadata", "labels").(map[string]any)
	for key, value := range wanted {
		if labels[key] != value {
			return false
		}
	}
	return len(wanted) > 0
}

func resourcesExist(directory string, o object) (problems []string) {
	for _, resource := range list(at(o.value, "resources")) {
		if _, err := os.Stat(filepath.Join(directory, text(resource))); err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", o, err))
		}
	}
	return problems
}
