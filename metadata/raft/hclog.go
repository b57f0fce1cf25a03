package raft

import (
	"bytes"
	"context"
	"io"
	"log"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// logger hands Raft's messages to slog. Raft logs ordinary events at INFO, which become DEBUG here.
// Its warnings and errors keep their level.
type logger struct {
	to   *slog.Logger
	name string
	args []any
}

// ordinary are warnings that Raft logs during the healthy start of a lone voter: it stands for
// election again if storing its own vote took longer than the election timeout.
var ordinary = map[string]bool{"Election timeout reached, restarting election": true}

func (l *logger) level(level hclog.Level) slog.Level {
	switch level {
	case hclog.Warn:
		return slog.LevelWarn
	case hclog.Error:
		return slog.LevelError
	case hclog.Trace:
		return slog.LevelDebug - 4
	}
	return slog.LevelDebug
}

func (l *logger) Log(level hclog.Level, msg string, args ...any) {
	if ordinary[msg] {
		level = hclog.Info
	}
	l.to.Log(context.Background(), l.level(level), "raft: "+msg, args...)
}

func (l *logger) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }
func (l *logger) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l *logger) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l *logger) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *logger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l *logger) enabled(level hclog.Level) bool {
	return l.to.Enabled(context.Background(), l.level(level))
}

func (l *logger) IsTrace() bool        { return l.enabled(hclog.Trace) }
func (l *logger) IsDebug() bool        { return l.enabled(hclog.Debug) }
func (l *logger) IsInfo() bool         { return l.enabled(hclog.Info) }
func (l *logger) IsWarn() bool         { return l.enabled(hclog.Warn) }
func (l *logger) IsError() bool        { return l.enabled(hclog.Error) }
func (l *logger) ImpliedArgs() []any   { return l.args }
func (l *logger) Name() string         { return l.name }
func (l *logger) SetLevel(hclog.Level) {} // slog's handler decides
func (l *logger) GetLevel() hclog.Level {
	if l.IsDebug() {
		return hclog.Debug
	}
	return hclog.Warn
}

func (l *logger) With(args ...any) hclog.Logger {
	return &logger{to: l.to.With(args...), name: l.name, args: append(append([]any{}, l.args...), args...)}
}

func (l *logger) Named(name string) hclog.Logger { return l.ResetNamed(l.name + name) }
func (l *logger) ResetNamed(name string) hclog.Logger {
	return &logger{to: l.to, name: name, args: l.args}
}

func (l *logger) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return log.New(l.StandardWriter(nil), "", 0)
}

func (l *logger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer { return lineWriter{l} }

type lineWriter struct{ l *logger }

func (w lineWriter) Write(p []byte) (int, error) {
	w.l.Debug(string(bytes.TrimSpace(p)))
	return len(p), nil
}
