package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/towpath/towpath/internal/config"
)

// traceFlushLimit is how long a stop waits for the last spans to be sent.
const traceFlushLimit = 5 * time.Second

// trace sends traces by OTLP when OpenTelemetry's own variables say where to. The provider is the process's, so that spans
// of the application's code join those of its jobs.
func (a *App) trace(ctx context.Context) error {
	if !config.TracingRequested() {
		return nil
	}
	if protocol := config.TracingProtocol(); protocol != "http/protobuf" {
		return &config.Error{
			Variable: "OTEL_EXPORTER_OTLP_PROTOCOL", Value: protocol,
			Reason: "traces are sent by http/protobuf alone; set that, and the collector's HTTP port, 4318 in most",
		}
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return fmt.Errorf("send traces by OTLP: %w", err)
	}
	described, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "towpath"), attribute.String("service.version", a.opts.Version),
			attribute.String("service.instance.id", a.id)),
		resource.WithTelemetrySDK(), resource.WithHost(), resource.WithFromEnv()) // the last one wins
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return fmt.Errorf("describe this process for its traces: %w", err)
	}
	provider := trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithResource(described))
	before := otel.GetTracerProvider()
	otel.SetTracerProvider(provider)
	a.traced = true
	a.onStop(func() error {
		otel.SetTracerProvider(before)
		ctx, cancel := context.WithTimeout(context.Background(), traceFlushLimit)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			// The jobs are done; that their traces are lost is no failure of the process.
			a.logger.WarnContext(ctx, "traces were not sent", slog.Any("error", err))
		}
		return nil
	})
	return nil
}
