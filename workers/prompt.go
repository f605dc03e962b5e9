package workers

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/riverqueue/river"
)

// promptFinisher is what Towpath's pilot offers beside River's methods: the end of a success at once, instead of with
// River's next batch.
type promptFinisher interface {
	FinishPromptly(schema string, id int64, metadata []byte)
}

// finishPromptly has the end of an attempt that succeeded written at once. Nothing may fail the attempt any more: neither
// middleware of the worker or the client, nor River's own around resumable steps, all of which run further in than the
// caller. Where it cannot be done, River's own finish, which follows, has to do.
func (rt *runtime) finishPromptly(ctx context.Context, id int64) {
	if rt.prompt == nil {
		return
	}
	updates, ok := ctx.Value(metadataKey()).(map[string]any)
	if !ok {
		return
	}
	var metadata []byte
	if len(updates) > 0 {
		var err error
		if metadata, err = json.Marshal(updates); err != nil {
			return // River says so
		}
	}
	rt.prompt(id, metadata)
}

// metadataKey is the key under which River keeps in a handler's context what the attempt adds to its job's metadata. It is
// the one that RecordOutput asks for.
var metadataKey = sync.OnceValue(func() any {
	asked := &keySpy{Context: context.Background()}
	_ = river.RecordOutput(asked, nil) // an error, since there is nothing under the key
	return asked.key
})

// keySpy is a context that tells which key it was asked for.
type keySpy struct {
	context.Context
	key any
}

// Value has no values.
func (s *keySpy) Value(key any) any {
	s.key = key
	return nil
}
