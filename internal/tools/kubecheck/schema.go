package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// source is a module that has schemas. The sum is that of Go's checksum database.
type source struct{ module, version, sum string }

var (
	kubernetes = source{"k8s.io/kubernetes", "v1.37.2", "h1:A2VDEiObzkYqFTKhSsn0ZEb0RlLEXpHWj93gi2HqEwE="}
	keda       = source{"github.com/kedacore/keda/v2", "v2.21.0", "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps="}
)

// fetch returns the directory of a module, which Go downloads once.
func (s source) fetch() (string, error) {
	out, err := exec.Command("go", "mod", "download", "-json", s.module+"@"+s.version).Output()
	var answer struct{ Dir, Sum, Error string }
	if jsonErr := json.Unmarshal(out, &answer); jsonErr != nil {
		return "", fmt.Errorf("fetch %s %s: %w", s.module, s.version, errors.Join(err, jsonErr))
	}
	switch {
	case answer.Error != "":
		return "", fmt.Errorf("fetch %s %s: %s", s.module, s.version, answer.Error)
	case answer.Sum != s.sum:
		return "", fmt.Errorf("fetch %s %s: its sum is %s, not %s", s.module, s.version, answer.Sum, s.sum)
	}
	return answer.Dir, nil
}

// schemas are those of all kinds, by apiVersion and kind.
type schemas map[string]*jsonschema.Schema

func loadSchemas() (schemas, error) {
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft4)
	urls := map[string]string{}
	if err := addKubernetes(compiler, urls); err != nil {
		return nil, err
	}
	if err := addKEDA(compiler, urls); err != nil {
		return nil, err
	}
	all := schemas{}
	for name, url := range urls {
		schema, err := compiler.Compile(url)
		if err != nil {
			return nil, fmt.Errorf("compile the schema of %s: %w", name, err)
		}
		all[name] = schema
	}
	return all, nil
}

// kinds that we use; the others are not compiled.
var kinds = map[string]bool{
	"apps/v1 Deployment": true, "batch/v1 Job": true, "policy/v1 PodDisruptionBudget": true,
	"v1 Service": true, "v1 ConfigMap": true, "v1 Secret": true,
}

func addKubernetes(compiler *jsonschema.Compiler, urls map[string]string) error {
	dir, err := kubernetes.fetch()
	if err != nil {
		return err
	}
	file, err := os.Open(filepath.Join(dir, "api/openapi-spec/swagger.json"))
	if err != nil {
		return err
	}
	defer file.Close()
	parsed, err := jsonschema.UnmarshalJSON(file)
	if err != nil {
		return err
	}
	document, _ := parsed.(map[string]any)
	definitions, _ := document["definitions"].(map[string]any)
	for name, raw := range definitions {
		definition, _ := raw.(map[string]any)
		switch {
		case strings.HasSuffix(name, ".intstr.IntOrString"):
			definitions[name] = map[string]any{"type": []any{"string", "integer"}}
			continue
		case strings.HasSuffix(name, ".resource.Quantity"):
			definitions[name] = map[string]any{"type": []any{"string", "number"}}
			continue
		}
		strict(definition)
		versions, _ := definition["x-kubernetes-group-version-kind"].([]any)
		for _, v := range versions {
			gvk, _ := v.(map[string]any)
			if id := identity(text(gvk["group"]), text(gvk["version"]), text(gvk["kind"])); kinds[id] {
				urls[id] = "kubernetes.json#/definitions/" + name
			}
		}
	}
	return compiler.AddResource("kubernetes.json", map[string]any{"definitions": definitions})
}

func addKEDA(compiler *jsonschema.Compiler, urls map[string]string) error {
	dir, err := keda.fetch()
	if err != nil {
		return err
	}
	for _, name := range []string{"scaledobjects", "triggerauthentications"} {
		raw, err := os.ReadFile(filepath.Join(dir, "config/crd/bases/keda.sh_"+name+".yaml"))
		if err != nil {
			return err
		}
		var crd struct {
			Spec struct {
				Group string
				Names struct{ Kind string }
				// The schema goes by way of JSON, so that its numbers are such as the compiler knows.
				Versions []struct {
					Name   string
					Schema struct {
						OpenAPIV3Schema map[string]any `yaml:"openAPIV3Schema"`
					}
				}
			}
		}
		if err := yaml.Unmarshal(raw, &crd); err != nil {
			return fmt.Errorf("read the schema of %s: %w", name, err)
		}
		for _, version := range crd.Spec.Versions {
			schema, err := plain(version.Schema.OpenAPIV3Schema)
			if err != nil {
				return err
			}
			strict(schema)
			url := name + ".json"
			if err := compiler.AddResource(url, schema); err != nil {
				return err
			}
			urls[identity(crd.Spec.Group, version.Name, crd.Spec.Names.Kind)] = url
		}
	}
	return nil
}

// strict forbids what a schema does not name, all the way down, as a strict decoder does.
func strict(schema any) {
	switch s := schema.(type) {
	case map[string]any:
		_, named := s["properties"].(map[string]any)
		_, said := s["additionalProperties"]
		if open, _ := s["x-kubernetes-preserve-unknown-fields"].(bool); named && !said && !open {
			s["additionalProperties"] = false
		}
		if s["x-kubernetes-int-or-string"] == true {
			delete(s, "type")
		}
		for _, part := range s {
			strict(part)
		}
	case []any:
		for _, part := range s {
			strict(part)
		}
	}
}

func (s schemas) validate(o object) []string {
	schema := s[o.apiVersion+" "+o.kind]
	if schema == nil {
		return []string{fmt.Sprintf("%s: there is no schema for %s %s", o, o.apiVersion, o.kind)}
	}
	value, err := plain(o.value)
	if err != nil {
		return []string{fmt.Sprintf("%s: %v", o, err)}
	}
	if err := schema.Validate(value); err != nil {
		return []string{fmt.Sprintf("%s: %v", o, err)}
	}
	return nil
}

func identity(group, version, kind string) string {
	if group != "" {
		version = group + "/" + version
	}
	return version + " " + kind
}

func text(value any) string { s, _ := value.(string); return s }

// plain turns what a YAML decoder made into what a JSON decoder makes.
func plain(value any) (any, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	return jsonschema.UnmarshalJSON(strings.NewReader(string(raw)))
}
