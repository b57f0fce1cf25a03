package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/sluicemq/sluice/storage/bucket"
)

// op is what classify has to know about a request.
type op int

const (
	createOp op = iota // it may change what the key holds: a failure after sending is in doubt
	readOp             // it reads one object; also for requests that may simply be repeated
	bucketOp           // it concerns the bucket as a whole: 404 is not about an object
	partOp             // it sends a part of an upload that nobody sees before it is completed
)

// sending tells whether a request may have left this machine.
type sending struct{ begun atomic.Bool }

// watchSending notes the moment at which a request first has a connection to write to. Whatever
// fails before that moment, the store cannot have seen the request.
func watchSending(ctx context.Context) (context.Context, *sending) {
	s := &sending{}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { s.begun.Store(true) },
	}), s
}

// credentials marks the errors of a provider of credentials. Such errors happen before the request
// is sent.
type credentials struct{ aws.CredentialsProvider }

type credentialsError struct{ error }

func (e credentialsError) Unwrap() error { return e.error }

func (c credentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	got, err := c.CredentialsProvider.Retrieve(ctx)
	if err != nil {
		return got, credentialsError{err}
	}
	return got, nil
}

// classify turns an error of the SDK into one of package bucket's errors, which wraps the cause.
func classify(ctx context.Context, o op, err error, sent *sending) error {
	if err == nil {
		return nil
	}
	var answer *smithyhttp.ResponseError
	if errors.As(err, &answer) && answer.HTTPStatusCode() >= 300 {
		return fmt.Errorf("%w: %w", answered(o, answer.HTTPStatusCode(), code(err)), answerError{err, answer})
	}
	if errors.As(err, new(credentialsError)) && ctx.Err() == nil {
		return fmt.Errorf("%w: no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role: %w", bucket.ErrDenied, err)
	}
	err = causeOf(ctx, err)
	if o == createOp && sent.begun.Load() {
		// There was no complete answer, or a success whose content could not be read.
		return fmt.Errorf("%w: %w", bucket.ErrUnknown, err)
	}
	return fmt.Errorf("%w: %w", bucket.ErrUnavailable, err)
}

// answerError is the SDK's error about an answer, in fewer words: the SDK's own text has a host id
// of 80 characters.
type answerError struct {
	error
	answer *smithyhttp.ResponseError
}

func (e answerError) Unwrap() error { return e.error }

func (e answerError) Error() string {
	name, id := "request", ""
	var operation *smithy.OperationError
	if errors.As(e.error, &operation) {
		name = operation.OperationName
	}
	var request interface{ ServiceRequestID() string }
	if errors.As(e.error, &request) && request.ServiceRequestID() != "" {
		id = " (request " + request.ServiceRequestID() + ")"
	}
	return fmt.Sprintf("%s was answered with %d%s: %v", name, e.answer.HTTPStatusCode(), id, e.answer.Err)
}

// causeOf names the reason why the context ended where the SDK only says "canceled".
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// answered judges a store's refusal by its code, and if the code does not suffice, by its status.
func answered(o op, status int, code string) error {
	switch code {
	case "NoSuchBucket":
		return noBucket
	case "NoSuchUpload": // it has expired or was swept; the upload begins anew
		return bucket.ErrUnavailable
	case "BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch":
		return bucket.ErrCorrupt
	case "InvalidRange":
		return bucket.ErrShort
	case "RequestTimeout", "IncompleteBody": // the status is 400, but the connection caused it
		return passing(o)
	case "RequestTimeTooSkewed":
		return fix("this machine's clock differs from the store's: synchronise it")
	case "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken":
		return fix("the credentials have expired: renew them")
	case "InvalidAccessKeyId", "SignatureDoesNotMatch":
		return fix("the access key or its secret is wrong: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and the region")
	}
	return byStatus(o, status)
}

func byStatus(o op, status int) error {
	switch {
	case status == http.StatusPreconditionFailed:
		return bucket.ErrExists
	// Another write of the key was under way and this one was not done: it has to be sent again.
	case status == http.StatusConflict && o != bucketOp:
		return bucket.ErrUnavailable
	case status == http.StatusRequestedRangeNotSatisfiable:
		return bucket.ErrShort
	case status == http.StatusNotFound && o == readOp:
		return bucket.ErrNotFound
	case status == http.StatusNotFound:
		return noBucket
	case status == http.StatusNotImplemented:
		return fix("the store does not know this request: use one with conditional creation and multipart uploads")
	case status >= 500, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
		return passing(o)
	case status < 400:
		return fix("the bucket is in another region or at another endpoint: correct ?region= or ?endpoint=")
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return fix("access denied: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and that they may GetObject, PutObject, DeleteObject and ListBucket on this bucket and prefix")
	}
	return fix("bad request: check bucket name, region and endpoint")
}

// passing returns the error of a failure that will pass. A store that answers 5xx to a Create may
// have stored the object nevertheless: not every 5xx means "nothing was done".
func passing(o op) error {
	if o == createOp {
		return bucket.ErrUnknown
	}
	return bucket.ErrUnavailable
}

// Some stores give the answer of noBucket to an access key that they do not know, too.
var noBucket = fix("the bucket does not exist (or the access key is unknown): create it or correct the URL")

func fix(what string) error { return fmt.Errorf("%w: %s", bucket.ErrDenied, what) }
