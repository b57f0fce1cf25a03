package s3

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"

	"github.com/sluicemq/sluice/storage/bucket"
)

// Config says where the bucket is. The credentials come from AWS's usual chain (AWS_ACCESS_KEY_ID
// and AWS_SECRET_ACCESS_KEY, profiles, web identity, instance role).
type Config struct {
	Bucket string
	// Prefix is put in front of every key, with a slash between. It may be empty.
	Prefix string
	// Region overrides AWS_REGION and the profile's region. With an Endpoint it defaults to
	// us-east-1.
	Region string
	// Endpoint is the URL of a store other than Amazon's, such as http://127.0.0.1:9000.
	Endpoint string
	// PathStyle puts the bucket's name into the path and not into the host name. Most other stores
	// need it.
	PathStyle bool

	// Log gets the lines of the AWS SDK. If Log is nil, the lines are dropped.
	Log *slog.Logger

	// RequestTimeout is the time that one request may take, plus a second for each MiB of its body.
	// The default is 10 s. A shorter time finds a hanging store sooner; with a longer time fewer
	// requests to a slow store end in doubt.
	RequestTimeout time.Duration
	// MultipartBytes is the body size above which an upload goes in parts; 64 MiB by default. Below
	// it a single request is cheaper, and more stores honour its condition.
	MultipartBytes int64
	// PartBytes is the size of a part: 16 MiB by default, at least 5 MiB (S3's rule).
	PartBytes int64
}

const partBytesMin = 5 << 20

func (c Config) withDefaults() Config {
	c.Prefix = strings.Trim(c.Prefix, "/")
	if c.Region == "" && c.Endpoint != "" {
		c.Region = "us-east-1"
	}
	if c.RequestTimeout == 0 {
		c.RequestTimeout = 10 * time.Second
	}
	if c.MultipartBytes == 0 {
		c.MultipartBytes = 64 << 20
	}
	if c.PartBytes == 0 {
		c.PartBytes = 16 << 20
	}
	return c
}

// Validate reports every problem with its value.
func (c Config) Validate() error {
	var errs []error
	if c.Bucket == "" {
		errs = append(errs, errors.New("s3: no bucket in the URL: write s3://bucket/prefix"))
	}
	if c.Prefix != "" {
		if err := bucket.ValidateKey(strings.Trim(c.Prefix, "/")); err != nil {
			errs = append(errs, fmt.Errorf("s3: Prefix: %w", err))
		}
	}
	if c.RequestTimeout < 0 {
		errs = append(errs, fmt.Errorf("s3: RequestTimeout %v is negative", c.RequestTimeout))
	}
	if c.PartBytes != 0 && c.PartBytes < partBytesMin {
		errs = append(errs, fmt.Errorf("s3: PartBytes %d is below S3's least, %d", c.PartBytes, partBytesMin))
	}
	if c.MultipartBytes < 0 {
		errs = append(errs, fmt.Errorf("s3: MultipartBytes %d is negative", c.MultipartBytes))
	}
	return errors.Join(errs...)
}

// Bucket is one bucket, or the part of it under a prefix.
type Bucket struct {
	cfg       Config
	prefix    string // of the keys; "" or ending in '/'
	client    *s3.Client
	transport *http.Transport
}

// Open sets up the client. It sends nothing: a broker may start while its store is away.
func Open(ctx context.Context, cfg Config) (*Bucket, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", bucket.ErrDenied, err)
	}
	options := []func(*config.LoadOptions) error{config.WithLogger(sdkLogger(cfg.Log))}
	if cfg.Region != "" {
		options = append(options, config.WithRegion(cfg.Region))
	}
	shared, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("s3: AWS configuration: %w", err)
	}
	cfg = cfg.withDefaults()
	if cfg.Region != "" && shared.Region == "" {
		shared.Region = cfg.Region
	}
	if shared.Region == "" {
		return nil, fmt.Errorf("%w: s3: no region: add ?region=… to the URL or set AWS_REGION", bucket.ErrDenied)
	}
	b := &Bucket{cfg: cfg, transport: newTransport()}
	if cfg.Prefix != "" {
		b.prefix = cfg.Prefix + "/"
	}
	b.client = s3.NewFromConfig(shared, b.setOptions)
	return b, nil
}

// sdkLogger receives the lines of the SDK, which the SDK would otherwise print to standard error.
func sdkLogger(log *slog.Logger) logging.Logger {
	if log == nil {
		return logging.Nop{}
	}
	return logging.LoggerFunc(func(c logging.Classification, format string, args ...any) {
		level := slog.LevelDebug
		if c == logging.Warn {
			level = slog.LevelWarn
		}
		log.Log(context.Background(), level, "S3 client", "said", strings.TrimSpace(fmt.Sprintf(format, args...)))
	})
}

func (b *Bucket) setOptions(o *s3.Options) {
	o.HTTPClient = &http.Client{Transport: sender{b.transport}, CheckRedirect: noRedirect}
	o.Retryer = aws.NopRetryer{}
	o.UsePathStyle = b.cfg.PathStyle
	if b.cfg.Endpoint != "" {
		o.BaseEndpoint = aws.String(b.cfg.Endpoint)
	}
	// By default the SDK puts a trailing checksum on each request, which many stores refuse. We
	// send a header of our own.
	o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	// This would cost a round trip per upload, to spare bytes on the rare refusal.
	o.ContinueHeaderThresholdBytes = -1
	o.Credentials = credentials{o.Credentials}
	o.DisableLogOutputChecksumValidationSkipped = true
}

// noRedirect stops at a redirect: it means a wrong region or endpoint, which classify explains.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// newTransport keeps enough idle connections that no request of a busy broker has to dial. Each
// Bucket has its own transport, so that readers cannot take the connections of writers.
func newTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: 3 * time.Second, KeepAlive: 15 * time.Second}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dial(dialer),
		TLSHandshakeTimeout: 5 * time.Second,
		MaxIdleConnsPerHost: 256,
		IdleConnTimeout:     60 * time.Second,
		DisableCompression:  true, // a range of an object must arrive as its own bytes
		WriteBufferSize:     64 << 10,
		ReadBufferSize:      64 << 10,
	}
}

// deadline bounds one request that carries this many bytes.
func (b *Bucket) deadline(ctx context.Context, bytes int64) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, b.cfg.RequestTimeout+time.Duration(bytes>>20)*time.Second)
}

func (b *Bucket) name(key string) string { return b.cfg.Bucket + "/" + b.prefix + key }

func (b *Bucket) key(key string) *string { return aws.String(b.prefix + key) }

// Create implements bucket.Bucket.
func (b *Bucket) Create(ctx context.Context, key string, body bucket.Body) error {
	err := start(ctx, key)
	if err == nil && body.Size() > b.cfg.MultipartBytes {
		err = b.createInParts(ctx, key, body)
	} else if err == nil {
		err = b.put(ctx, key, body)
	}
	if err != nil {
		return fmt.Errorf("s3: create %s: %w", b.name(key), err)
	}
	return nil
}

func start(ctx context.Context, key string) error {
	if err := bucket.ContextError(ctx); err != nil {
		return err
	}
	return bucket.ValidateKey(key)
}

func (b *Bucket) put(ctx context.Context, key string, body bucket.Body) error {
	ctx, cancel := b.deadline(ctx, body.Size())
	defer cancel()
	ctx, sent := watchSending(ctx)
	ctx, reader := withBody(ctx, body)
	// The transport may outlive this call; by then the parts belong to the caller.
	defer reader.Release()
	_, err := b.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket:         &b.cfg.Bucket,
		Key:            b.key(key),
		Body:           reader,
		ContentLength:  aws.Int64(body.Size()),
		ChecksumCRC32C: aws.String(checksum(body.CRC32C)),
		IfNoneMatch:    aws.String("*"), // I3
	}, unsigned)
	// The body broke off, and a store accepts only complete bodies.
	if damage := reader.Damage(); damage != nil {
		return damage
	}
	return classify(ctx, createOp, err, sent)
}

// unsigned leaves the payload's SHA-256 out of the signature. The CRC32C that we have guards the
// bytes, and hashing them again costs a second per GiB.
func unsigned(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
}

// checksum encodes a CRC as S3 does: base64 of the big-endian value.
func checksum(crc uint32) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc))
}

// ReadAt implements bucket.Bucket.
func (b *Bucket) ReadAt(ctx context.Context, key string, p []byte, pos int64) error {
	if err := b.readAt(ctx, key, p, pos); err != nil {
		return fmt.Errorf("s3: read %d bytes at %d of %s: %w", len(p), pos, b.name(key), err)
	}
	return nil
}

func (b *Bucket) readAt(ctx context.Context, key string, p []byte, pos int64) error {
	if err := start(ctx, key); err != nil {
		return err
	}
	if pos < 0 {
		return fmt.Errorf("%w: negative position", bucket.ErrDenied)
	}
	if len(p) == 0 {
		return nil
	}
	ctx, cancel := b.deadline(ctx, int64(len(p)))
	defer cancel()
	ctx, sent := watchSending(ctx)
	out, err := b.client.GetObject(ctx, &s3.GetObjectInput{
		Bucket: &b.cfg.Bucket,
		Key:    b.key(key),
		Range:  aws.String(fmt.Sprintf("bytes=%d-%d", pos, pos+int64(len(p))-1)),
	})
	if err != nil {
		return classify(ctx, readOp, err, sent)
	}
	err = fill(ctx, p, pos, out)
	return errors.Join(err, closeError(out.Body.Close()))
}

// fill checks that the answer is for the range that was asked for, and reads it.
func fill(ctx context.Context, p []byte, pos int64, out *s3.GetObjectOutput) error {
	from, bytes, err := contentRange(aws.ToString(out.ContentRange))
	if err != nil {
		return err
	}
	if from != pos || bytes > int64(len(p)) {
		return fmt.Errorf("%w: the store answered with bytes %q", bucket.ErrCorrupt, aws.ToString(out.ContentRange))
	}
	if bytes < int64(len(p)) {
		return fmt.Errorf("%w: the store has bytes %s", bucket.ErrShort, aws.ToString(out.ContentRange))
	}
	// Fewer bytes than promised are the fault of the connection, not of the object.
	if n, err := io.ReadFull(out.Body, p); err != nil {
		return fmt.Errorf("%w: body broke off after %d bytes: %w", bucket.ErrUnavailable, n, causeOf(ctx, err))
	}
	return nil
}

// contentRange reads "bytes 10-19/200".
func contentRange(header string) (from, bytes int64, err error) {
	spec, ok := strings.CutPrefix(header, "bytes ")
	spec, _, _ = strings.Cut(spec, "/")
	first, last, found := strings.Cut(spec, "-")
	from, err1 := strconv.ParseInt(first, 10, 64)
	to, err2 := strconv.ParseInt(last, 10, 64)
	if !ok || !found || err1 != nil || err2 != nil || to < from {
		return 0, 0, fmt.Errorf("%w: it does not serve ranges of an object (Content-Range %q); use a store that does", bucket.ErrDenied, header)
	}
	return from, to - from + 1, nil
}

func closeError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", bucket.ErrUnavailable, err)
}

// Stat implements bucket.Bucket.
func (b *Bucket) Stat(ctx context.Context, key string) (bucket.Info, error) {
	bytes, err := b.stat(ctx, key)
	if err != nil {
		return bucket.Info{}, fmt.Errorf("s3: stat %s: %w", b.name(key), err)
	}
	return bucket.Info{Key: key, Bytes: bytes}, nil
}

func (b *Bucket) stat(ctx context.Context, key string) (int64, error) {
	if err := start(ctx, key); err != nil {
		return 0, err
	}
	ctx, cancel := b.deadline(ctx, 0)
	defer cancel()
	ctx, sent := watchSending(ctx)
	out, err := b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.cfg.Bucket, Key: b.key(key)})
	if err == nil {
		return aws.ToInt64(out.ContentLength), nil
	}
	err = classify(ctx, readOp, err, sent)
	if !errors.Is(err, bucket.ErrNotFound) {
		return 0, err
	}
	// An answer to HEAD has no body, so it cannot report a missing bucket. A missing bucket is no
	// proof that an object is absent.
	if _, herr := b.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &b.cfg.Bucket}); herr != nil {
		return 0, classify(ctx, bucketOp, herr, sent)
	}
	return 0, err
}

// List implements bucket.Bucket.
func (b *Bucket) List(ctx context.Context, prefix, after string) iter.Seq2[bucket.Info, error] {
	return func(yield func(bucket.Info, error) bool) {
		if err := b.list(ctx, prefix, after, yield); err != nil {
			yield(bucket.Info{}, fmt.Errorf("s3: list %s: %w", b.name(prefix), err))
		}
	}
}

func (b *Bucket) list(ctx context.Context, prefix, after string, yield func(bucket.Info, error) bool) error {
	if err := bucket.ValidatePrefix(prefix); err != nil {
		return err
	}
	in := &s3.ListObjectsV2Input{Bucket: &b.cfg.Bucket, Prefix: b.key(prefix)}
	if after != "" {
		in.StartAfter = b.key(after)
	}
	for last := after; ; {
		page, err := b.listPage(ctx, in)
		if err != nil {
			return err
		}
		for _, object := range page.Contents {
			key, ours := strings.CutPrefix(aws.ToString(object.Key), b.prefix)
			if !ours || key == "" { // a console's marker for the folder itself
				continue
			}
			if key <= last {
				return fmt.Errorf("%w: the store lists %q after %q, not in the order of keys", bucket.ErrCorrupt, key, last)
			}
			last = key
			if !yield(bucket.Info{Key: key, Bytes: aws.ToInt64(object.Size)}, nil) {
				return nil
			}
		}
		if !aws.ToBool(page.IsTruncated) {
			return nil
		}
		if aws.ToString(page.NextContinuationToken) == "" {
			return fmt.Errorf("%w: the store says that the listing goes on, but not where", bucket.ErrCorrupt)
		}
		in.ContinuationToken = page.NextContinuationToken
	}
}

func (b *Bucket) listPage(ctx context.Context, in *s3.ListObjectsV2Input) (*s3.ListObjectsV2Output, error) {
	if err := bucket.ContextError(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := b.deadline(ctx, 1<<20)
	defer cancel()
	ctx, sent := watchSending(ctx)
	page, err := b.client.ListObjectsV2(ctx, in)
	if err != nil {
		return nil, classify(ctx, bucketOp, err, sent)
	}
	return page, nil
}

// Delete implements bucket.Bucket. It sends one request per object, because the answer to a batch
// hides the failures of single keys.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	if err := b.delete(ctx, key); err != nil {
		return fmt.Errorf("s3: delete %s: %w", b.name(key), err)
	}
	return nil
}

func (b *Bucket) delete(ctx context.Context, key string) error {
	if err := start(ctx, key); err != nil {
		return err
	}
	ctx, cancel := b.deadline(ctx, 0)
	defer cancel()
	ctx, sent := watchSending(ctx)
	_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.cfg.Bucket, Key: b.key(key)})
	if err = classify(ctx, readOp, err, sent); errors.Is(err, bucket.ErrNotFound) {
		return nil
	}
	return err
}

// Close drops idle connections.
func (b *Bucket) Close() error {
	b.transport.CloseIdleConnections()
	return nil
}
