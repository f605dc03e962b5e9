package workers

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type shape struct {
	Customer int               `json:"customer"`
	Note     string            `json:"note,omitempty"`
	Due      time.Time         `json:"due"`
	Lines    []orderLine       `json:"lines"`
	Labels   map[string]string `json:"labels,omitempty"`
	Raw      json.RawMessage   `json:"raw,omitempty"`
	Picture  []byte            `json:"picture,omitempty"`
	hidden   bool
}

type orderLine struct {
	Article string  `json:"article"`
	Price   float64 `json:"price"`
	Few     uint8   `json:"few"`
}

type ring struct {
	Next *ring `json:"next"`
}

// id writes itself as text though it is an array.
type id [2]byte

func (id) MarshalText() ([]byte, error) { return []byte("x"), nil }

type withID struct {
	ID id `json:"id"`
}

type panics struct{}

func (panics) MarshalJSON() ([]byte, error) { panic("no value") }

func TestSchemaOf(t *testing.T) {
	t.Parallel()
	require.JSONEq(t, `{
		"type": "object", "required": ["customer", "due", "lines"], "additionalProperties": false,
		"properties": {
			"customer": {"type": "integer"}, "note": {"type": "string"}, "due": {"type": "string"},
			"lines": {"type": ["null", "array"], "items": {
				"type": "object", "required": ["article", "price", "few"], "additionalProperties": false,
				"properties": {"article": {"type": "string"}, "price": {"type": "number"}, "few": {"type": "integer", "minimum": 0, "maximum": 255}}}},
			"labels": {"type": "object", "additionalProperties": {"type": "string"}},
			"raw": true, "picture": {"type": ["null", "string"]}
		}}`, string(schemaOf[shape]()))
	require.False(t, shape{}.hidden)
	require.JSONEq(t, `{"type": "object", "additionalProperties": false}`, string(schemaOf[struct{}]()))
	require.Nil(t, schemaOf[ring]())
	require.Nil(t, schemaOf[withID]())
	require.Nil(t, schemaOf[panics]())
	require.Nil(t, schemaOf[func()]())
}
