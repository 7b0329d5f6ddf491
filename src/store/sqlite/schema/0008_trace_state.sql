-- Version 8: what the tracers before us keep in a trace.

-- The sender's `tracestate`, as it is passed on; null without one or without a `traceparent`.
ALTER TABLE events ADD COLUMN trace_state TEXT;
