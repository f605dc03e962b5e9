package workers

import (
	"encoding/json"
	"reflect"

	"github.com/google/jsonschema-go/jsonschema"
)

// schemaOf describes args of type T as a JSON schema; nil where that cannot be told of the type, as of one that refers to
// itself. The names of fields, and what is optional, are those of the json tags.
//
// Types that write their JSON themselves may not be what they look like. So the zero value has to fit what was derived.
func schemaOf[T any]() (document json.RawMessage) {
	defer func() {
		if recover() != nil { // writing a zero value was too much for it
			document = nil
		}
	}()
	schema, err := jsonschema.For[T](&jsonschema.ForOptions{TypeSchemas: map[reflect.Type]*jsonschema.Schema{
		reflect.TypeFor[json.RawMessage](): {},
		reflect.TypeFor[json.Number]():     {Type: "number"},
		reflect.TypeFor[[]byte]():          {Types: []string{"null", "string"}},
	}})
	if err != nil {
		return nil
	}
	resolved, err := schema.Resolve(nil)
	if err != nil {
		return nil
	}
	var zero T
	text, err := json.Marshal(zero)
	if err != nil {
		return nil
	}
	var value any
	if json.Unmarshal(text, &value) != nil || resolved.Validate(value) != nil {
		return nil
	}
	if document, err = json.Marshal(schema); err != nil {
		return nil
	}
	return document
}
