package app_test

import (
	"compress/gzip"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	traces "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/towpath/towpath/internal/app"
	"github.com/towpath/towpath/internal/testdb"
	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/workers"
)

type flakyArgs struct{}

func (flakyArgs) Kind() string { return "flaky" }

// flakyWorker fails at its first attempt.
type flakyWorker struct {
	river.WorkerDefaults[flakyArgs]
}

func (flakyWorker) Work(_ context.Context, job *river.Job[flakyArgs]) error {
	if job.Attempt == 1 {
		return errors.New("the first time")
	}
	return nil
}
func (flakyWorker) NextRetry(*river.Job[flakyArgs]) time.Time { return time.Now() }

// otlpReceiver takes traces as a collector does.
type otlpReceiver struct {
	*httptest.Server
	mu       sync.Mutex
	services map[string]bool
	spans    []*traces.Span
}

func newOTLPReceiver(t *testing.T) *otlpReceiver {
	t.Helper()
	r := &otlpReceiver{services: map[string]bool{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if request.Method != http.MethodPost || request.URL.Path != "/v1/traces" {
			t.Errorf("unexpected %s %s", request.Method, request.URL)
		}
		body := io.Reader(request.Body)
		if request.Header.Get("Content-Encoding") == "gzip" {
			unpacked, err := gzip.NewReader(body)
			if err != nil {
				t.Error(err)
				return
			}
			body = unpacked
		}
		raw, err := io.ReadAll(body)
		var sent collector.ExportTraceServiceRequest
		if err = errors.Join(err, proto.Unmarshal(raw, &sent)); err != nil {
			t.Error(err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, resource := range sent.GetResourceSpans() {
			for _, attribute := range resource.GetResource().GetAttributes() {
				if attribute.GetKey() == "service.name" {
					r.services[attribute.GetValue().GetStringValue()] = true
				}
			}
			for _, scope := range resource.GetScopeSpans() {
				r.spans = append(r.spans, scope.GetSpans()...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(r.Close)
	return r
}

// named returns the spans of a name.
func (r *otlpReceiver) named(name string) []*traces.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []*traces.Span
	for _, span := range r.spans {
		if span.GetName() == name {
			found = append(found, span)
		}
	}
	return found
}

// A job carries the trace that enqueued it: the spans of all its attempts link to it. Not parallel, since the tracer and
// the environment are the process's.
func TestTraces(t *testing.T) {
	receiver := newOTLPReceiver(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.URL)
	pool := testdb.Pool(t)
	bundle := workers.NewBundle()
	workers.Add(bundle, flakyWorker{})
	a := start(t, configure(t, pool.Config().ConnString()), bundle, app.Scheduler, app.Worker)
	client, err := jobs.NewClient(pool, nil)
	require.NoError(t, err)

	ctx, span := otel.Tracer("test").Start(t.Context(), "request")
	inserted, err := client.Insert(ctx, flakyArgs{}, nil)
	require.NoError(t, err)
	span.End()
	var metadata map[string]any
	require.NoError(t, json.Unmarshal(inserted.Job.Metadata, &metadata))
	require.Contains(t, metadata["traceparent"], span.SpanContext().TraceID().String())
	result, err := client.Await(t.Context(), inserted.Job.ID)
	require.NoError(t, err)
	require.NoError(t, result.Err())
	require.NoError(t, a.Stop(), "which sends what is left")

	require.Equal(t, map[string]bool{"towpath": true}, receiver.services)
	inserts := receiver.named("river.insert_many")
	require.Len(t, inserts, 1)
	require.Equal(t, span.SpanContext().TraceID().String(), hex.EncodeToString(inserts[0].GetTraceId()))
	require.Equal(t, span.SpanContext().SpanID().String(), hex.EncodeToString(inserts[0].GetParentSpanId()))
	attempts := receiver.named("river.work/flaky")
	require.Len(t, attempts, 2)
	for _, attempt := range attempts {
		require.Len(t, attempt.GetLinks(), 1)
		require.Equal(t, inserts[0].GetTraceId(), attempt.GetLinks()[0].GetTraceId())
		require.Equal(t, inserts[0].GetSpanId(), attempt.GetLinks()[0].GetSpanId())
	}
}

// Without the variables nothing is traced, and an insert that belongs to no trace says nothing of one.
func TestNoTraces(t *testing.T) {
	before := otel.GetTracerProvider()
	pool := testdb.Pool(t)
	bundle, worker := newBundle()
	close(worker.end)
	a := start(t, configure(t, pool.Config().ConnString()), bundle, app.Worker)
	require.Equal(t, before, otel.GetTracerProvider())
	client, id := insert(t, pool, napArgs{}, nil)
	job, err := client.JobGet(t.Context(), id)
	require.NoError(t, err)
	require.NotContains(t, string(job.Metadata), "trace")
	require.NoError(t, a.Stop())

	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
	refused, err := app.New(configure(t, pool.Config().ConnString()), bundle, []app.Role{app.API}, options(t))
	require.NoError(t, err)
	require.ErrorContains(t, refused.Start(t.Context()), `OTEL_EXPORTER_OTLP_PROTOCOL="grpc": traces are sent by http/protobuf alone`)
}
