package limits

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sluicemq/sluice/protocol"
)

// Counts are the requests to the null bucket since its start. GET /counts answers with them as
// JSON.
type Counts struct {
	Puts     int64 `json:"puts"`
	Gets     int64 `json:"gets"`
	Heads    int64 `json:"heads"`
	Deletes  int64 `json:"deletes"`
	Lists    int64 `json:"lists"`
	Refused  int64 `json:"refused"`   // of all requests
	PutBytes int64 `json:"put_bytes"` // of bodies that were stored
	GetBytes int64 `json:"get_bytes"`
	Objects  int64 `json:"objects"` // number of objects now
	Bytes    int64 `json:"bytes"`   // the sum of their sizes
}

// nullBucket is an S3 endpoint for path-style requests to any bucket. It checks no signatures. It
// reads a body and checks the CRC32C that the client sends, and keeps the body only if it is small.
// A large object has a name and a size and cannot be read. So all that an upload costs here is the
// sender's CPU and one pass over the bytes.
type nullBucket struct {
	keepBytes int64
	pageKeys  int // the most keys of one page of a listing

	mu      sync.Mutex
	objects map[string]*kept // by bucket/key
	counts  Counts
}

type kept struct {
	body     []byte // nil with a size if the body was discarded
	size     int64
	modified time.Time
}

func newNullBucket(keepBytes int64, pageKeys int) *nullBucket {
	return &nullBucket{keepBytes: keepBytes, pageKeys: pageKeys, objects: make(map[string]*kept)}
}

func serveBucket(ctx context.Context, l net.Listener, cfg Config, ready func(net.Addr)) error {
	b := newNullBucket(cfg.KeepBytes, 1000) // the size of S3's pages
	srv := &http.Server{Handler: b, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelWarn)}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	ready(l.Addr())
	select {
	case err := <-served:
		return fmt.Errorf("limits: null bucket: %w", err)
	case <-ctx.Done():
		err := srv.Close()
		<-served
		return err
	}
}

// ServeHTTP implements http.Handler.
func (b *nullBucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/")
	_, key, _ := strings.Cut(name, "/")
	query := r.URL.Query()
	var err error
	switch {
	case r.Method == http.MethodGet && r.URL.Path == "/counts" && r.URL.RawQuery == "":
		b.answerCounts(w)
	case r.Method == http.MethodGet && key == "":
		b.list(w, strings.TrimSuffix(name, "/"), query.Get)
	// Every bucket exists.
	case key == "" && (r.Method == http.MethodHead || r.Method == http.MethodPut):
	case query.Has("uploads"), query.Has("uploadId"), query.Has("delete"):
		err = refuse(http.StatusNotImplemented, "NotImplemented", "the null bucket knows no multipart uploads and no batches")
	case r.Method == http.MethodPut:
		err = b.put(r, name)
	case r.Method == http.MethodHead, r.Method == http.MethodGet:
		err = b.get(w, r, name)
	case r.Method == http.MethodDelete:
		b.remove(name)
		w.WriteHeader(http.StatusNoContent)
	default:
		err = refuse(http.StatusNotImplemented, "NotImplemented", r.Method)
	}
	if err != nil {
		b.answerError(w, r, err)
	}
}

// refusal is an error answer of S3.
type refusal struct {
	XMLName xml.Name `xml:"Error"`
	Status  int      `xml:"-"`
	Code    string
	Message string
}

func (r *refusal) Error() string { return r.Code + ": " + r.Message }

func refuse(status int, code, message string) error {
	return &refusal{Status: status, Code: code, Message: message}
}

func (b *nullBucket) answerError(w http.ResponseWriter, r *http.Request, err error) {
	var ref *refusal
	if !errors.As(err, &ref) { // the body broke off, so nobody waits for an answer
		panic(http.ErrAbortHandler)
	}
	b.mu.Lock()
	b.counts.Refused++
	b.mu.Unlock()
	if r.Method == http.MethodHead {
		w.WriteHeader(ref.Status)
		return
	}
	answerXML(w, ref.Status, ref)
}

func answerXML(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, xml.Header)
	_ = xml.NewEncoder(w).Encode(v) // a client that has gone needs no answer
}

func (b *nullBucket) answerCounts(w http.ResponseWriter) {
	b.mu.Lock()
	counts := b.counts
	b.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(counts)
}

// bodies is a pool of buffers for reading bodies.
var bodies = sync.Pool{New: func() any { b := make([]byte, 1<<20); return &b }}

func (b *nullBucket) put(r *http.Request, name string) error {
	b.mu.Lock()
	b.counts.Puts++
	b.mu.Unlock()
	if strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		return refuse(http.StatusNotImplemented, "NotImplemented", "the null bucket takes bodies as they are, not aws-chunked")
	}
	o, crc, err := b.readBody(r)
	if err != nil {
		return err
	}
	if want := r.Header.Get("X-Amz-Checksum-Crc32c"); want != "" {
		if got := base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc)); got != want {
			return refuse(http.StatusBadRequest, "BadDigest", "the body has CRC32C "+got+", the header says "+want)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.objects[name]
	if old != nil && r.Header.Get("If-None-Match") == "*" {
		return refuse(http.StatusPreconditionFailed, "PreconditionFailed", "the key is taken")
	}
	if old != nil {
		b.forgetLocked(name, old)
	}
	b.objects[name] = o
	b.counts.Objects++
	b.counts.Bytes += o.size
	b.counts.PutBytes += o.size
	return nil
}

func (b *nullBucket) readBody(r *http.Request) (*kept, uint32, error) {
	o := &kept{modified: time.Now()}
	if r.ContentLength < 0 {
		return nil, 0, refuse(http.StatusLengthRequired, "MissingContentLength", "a body needs a length")
	}
	if r.ContentLength <= b.keepBytes {
		o.body = make([]byte, 0, r.ContentLength)
	}
	buffer := bodies.Get().(*[]byte)
	defer bodies.Put(buffer)
	crc := uint32(0)
	for {
		n, err := r.Body.Read(*buffer)
		p := (*buffer)[:n]
		crc = crc32.Update(crc, protocol.Castagnoli, p)
		o.size += int64(n)
		if o.body != nil {
			o.body = append(o.body, p...)
		}
		if errors.Is(err, io.EOF) {
			return o, crc, nil
		}
		if err != nil {
			return nil, 0, fmt.Errorf("limits: body of %s: %w", r.URL.Path, err)
		}
	}
}

func (b *nullBucket) forgetLocked(name string, o *kept) {
	delete(b.objects, name)
	b.counts.Objects--
	b.counts.Bytes -= o.size
}

// get answers GET, whole or a range, and HEAD.
func (b *nullBucket) get(w http.ResponseWriter, r *http.Request, name string) error {
	b.mu.Lock()
	o := b.objects[name]
	if r.Method == http.MethodHead {
		b.counts.Heads++
	} else {
		b.counts.Gets++
	}
	b.mu.Unlock()
	if o == nil {
		return refuse(http.StatusNotFound, "NoSuchKey", "no such key")
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Length", strconv.FormatInt(o.size, 10))
		w.Header().Set("Last-Modified", o.modified.UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusOK)
		return nil
	}
	if o.body == nil {
		return refuse(http.StatusNotImplemented, "NotImplemented", "the null bucket threw this body away, as all that are large")
	}
	if len(o.body) == 0 && r.Header.Get("Range") != "" {
		return refuse(http.StatusRequestedRangeNotSatisfiable, "InvalidRange", "the object is empty")
	}
	http.ServeContent(&countedWriter{w, b}, r, "", o.modified, bytes.NewReader(o.body))
	return nil
}

// countedWriter counts the bytes that are read from the bucket.
type countedWriter struct {
	http.ResponseWriter
	b *nullBucket
}

func (c *countedWriter) Write(p []byte) (int, error) {
	c.b.mu.Lock()
	c.b.counts.GetBytes += int64(len(p))
	c.b.mu.Unlock()
	return c.ResponseWriter.Write(p)
}

func (b *nullBucket) remove(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts.Deletes++
	if o := b.objects[name]; o != nil {
		b.forgetLocked(name, o)
	}
}

// listing is a page of ListObjectsV2.
type listing struct {
	XMLName               xml.Name `xml:"ListBucketResult"`
	Name                  string
	Prefix                string
	KeyCount, MaxKeys     int
	IsTruncated           bool
	NextContinuationToken string `xml:",omitempty"`
	Contents              []listed
}

type listed struct {
	Key          string
	Size         int64
	LastModified string
}

// list answers ListObjectsV2. A continuation token is the last key of the previous page.
func (b *nullBucket) list(w http.ResponseWriter, bucketName string, param func(string) string) {
	page := listing{Name: bucketName, Prefix: param("prefix"), MaxKeys: b.pageKeys}
	if n, err := strconv.Atoi(param("max-keys")); err == nil && n > 0 {
		page.MaxKeys = min(n, page.MaxKeys)
	}
	after := max(param("start-after"), param("continuation-token"))
	b.mu.Lock()
	b.counts.Lists++
	for name, o := range b.objects {
		key, ours := strings.CutPrefix(name, bucketName+"/")
		if ours && strings.HasPrefix(key, page.Prefix) && key > after {
			page.Contents = append(page.Contents, listed{key, o.size, o.modified.UTC().Format(time.RFC3339)})
		}
	}
	b.mu.Unlock()
	slices.SortFunc(page.Contents, func(x, y listed) int { return strings.Compare(x.Key, y.Key) })
	if len(page.Contents) > page.MaxKeys {
		page.Contents = page.Contents[:page.MaxKeys]
		page.IsTruncated = true
		page.NextContinuationToken = page.Contents[page.MaxKeys-1].Key
	}
	page.KeyCount = len(page.Contents)
	answerXML(w, http.StatusOK, &page)
}
