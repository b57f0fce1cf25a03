package client

import (
	"errors"
	"fmt"
	"strings"
)

// The exit codes of the process. Scripts may rely on the numbers.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitPartly      = 4
	exitRefused     = 5
	exitUnreachable = 6
)

// exitHelp is the end of every command's help.
const exitHelp = `Exit codes: 0 done; 1 failed; 2 wrong usage; 3 topic, partition or group not found;
4 done in part, the rest failed; 5 refused as things stand (it exists, it has
members, not confirmed); 6 cluster not reachable, or no answer within --timeout.`

// exitError is an error with the exit code to which it leads.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func fail(code int, format string, args ...any) error {
	return &exitError{code, fmt.Errorf(format, args...)}
}

func usage(format string, args ...any) error    { return fail(exitUsage, format, args...) }
func notFound(format string, args ...any) error { return fail(exitNotFound, format, args...) }

// ExitCode returns the exit code for an error that a command returned.
func ExitCode(err error) int {
	var e *exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e.code
	// From the root command; cobra has no type for it.
	case strings.HasPrefix(err.Error(), "unknown command"):
		return exitUsage
	}
	return exitFailed
}

// several joins the errors of a command with many targets. If all errors are of one kind they keep
// their code. If something else was done, the code is that of "in part".
func several(done int, errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	code := ExitCode(errs[0])
	for _, err := range errs[1:] {
		if ExitCode(err) != code {
			code = exitFailed
		}
	}
	if done > 0 {
		code = exitPartly
	}
	return &exitError{code, errors.Join(errs...)}
}
