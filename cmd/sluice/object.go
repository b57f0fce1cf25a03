package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluicemq/sluice/metadata"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/open"
	"github.com/sluicemq/sluice/storage/object"
)

func objectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "object",
		Short: "Look at what the bucket holds",
		Long: `Look at what a bucket holds. These commands only read, and may be used beside a running broker.
The bucket is --bucket, or the folder bucket/ in --dir.`,
	}
	cmd.AddCommand(objectLsCommand(), objectInspectCommand())
	return cmd
}

// bucketFlags say where a tool finds its bucket.
type bucketFlags struct{ url, dir string }

func addBucketFlags(cmd *cobra.Command) *bucketFlags {
	f := new(bucketFlags)
	cmd.Flags().StringVar(&f.url, "bucket", "", "s3://bucket/prefix?region=… or file:///path; default a folder in --dir")
	cmd.Flags().StringVar(&f.dir, "dir", "./sluice-data", "data directory, if it holds the bucket")
	return f
}

func (f *bucketFlags) open(ctx context.Context) (bucket.Bucket, error) {
	url, err := bucketURL(f.url, f.dir)
	if err != nil {
		return nil, err
	}
	return open.Open(ctx, url, open.Options{ReadOnly: true})
}

// listedObject is a line of object ls. Scripts use its JSON names, so they stay.
type listedObject struct {
	Key string `json:"key"`
	// Bundle, manifest, segment, snapshot, cluster, probe or unknown.
	Kind       string `json:"kind"`
	Bytes      int64  `json:"bytes"`
	Object     string `json:"object,omitempty"`
	Generation uint16 `json:"generation"`
	Writer     string `json:"writer,omitempty"`
	Number     uint64 `json:"number,omitempty"` // of a snapshot
}

// describe returns what a key tells about its object.
func describe(info bucket.Info) listedObject {
	l := listedObject{Key: info.Key, Kind: "unknown", Bytes: info.Bytes}
	if p, err := object.ParseKey(info.Key); err == nil {
		l.Kind, l.Object, l.Generation, l.Writer = string(p.Kind), p.Object.String(), uint16(p.Object.Generation()), p.Writer.String()
	} else if n, ok := metadata.ParseLinkKey(info.Key); ok {
		l.Kind, l.Number = "snapshot", n
	} else if info.Key == metadata.ClusterKey {
		l.Kind = "cluster"
	} else if strings.HasPrefix(info.Key, probePrefix) {
		l.Kind = "probe"
	}
	return l
}

func objectLsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls [PREFIX]",
		Short: "List the objects, with what their keys say",
		Args:  cobra.MaximumNArgs(1),
	}
	flags := addBucketFlags(cmd)
	asJSON := cmd.Flags().Bool("json", false, "one JSON object per line")
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		b, err := flags.open(cmd.Context())
		if err != nil {
			return err
		}
		defer closing(&err, b.Close)
		prefix := ""
		if len(args) > 0 {
			prefix = args[0]
		}
		return listObjects(cmd.Context(), b, prefix, cmd.OutOrStdout(), *asJSON)
	}
	return cmd
}

func listObjects(ctx context.Context, b bucket.Bucket, prefix string, w io.Writer, asJSON bool) error {
	enc := json.NewEncoder(w)
	for info, err := range b.List(ctx, prefix, "") {
		if err != nil {
			return err
		}
		l := describe(info)
		if asJSON {
			err = enc.Encode(l)
		} else {
			_, err = fmt.Fprintln(w, l.text())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *listedObject) text() string {
	s := fmt.Sprintf("%-8s %12d  %s", l.Kind, l.Bytes, l.Key)
	if l.Object != "" {
		s += fmt.Sprintf("  object %s, generation %d, writer %s", l.Object, l.Generation, l.Writer)
	}
	return s
}

func objectInspectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect KEY|FILE",
		Short: "Print one object, verifying every checksum in it",
		Long: `Print what one object says: a bundle, segment or manifest, a metadata snapshot, or cluster.json.
Every checksum in it is verified, those of all batches too; damage is printed and makes the exit code 1. KEY is
one of object ls; the name of a file is tried first.`,
		Args: cobra.ExactArgs(1),
	}
	flags := addBucketFlags(cmd)
	asJSON := cmd.Flags().Bool("json", false, "one JSON document")
	details := cmd.Flags().Bool("batches", false, "name every batch, range and partition")
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		s, err := openSource(cmd.Context(), flags, args[0])
		if err != nil {
			return err
		}
		defer closing(&err, s.close)
		return inspect(cmd.Context(), cmd.OutOrStdout(), s, object.InspectOptions{JSON: *asJSON, Batches: *details})
	}
	return cmd
}

// linkMagic is the start of a link of the snapshot chain (docs/formats/metadata.md).
const linkMagic = "SLSN"

// probePrefix is the start of the keys with which a broker's start tries out what the store does.
const probePrefix = "probe/"

// source is the object to look at, in a bucket or copied to a file.
type source struct {
	name  string
	bytes int64
	read  object.ReadFunc
	close func() error
}

func openSource(ctx context.Context, flags *bucketFlags, name string) (*source, error) {
	f, err := os.Open(name)
	if err == nil {
		info, err := f.Stat()
		if err == nil && !info.IsDir() {
			read := func(_ context.Context, p []byte, pos int64) error { _, err := f.ReadAt(p, pos); return err }
			return &source{name: name, bytes: info.Size(), read: read, close: f.Close}, nil
		}
		_ = f.Close()
	}
	b, err := flags.open(ctx)
	if err != nil {
		return nil, err
	}
	info, err := b.Stat(ctx, name)
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	read := func(ctx context.Context, p []byte, pos int64) error { return b.ReadAt(ctx, name, p, pos) }
	return &source{name: name, bytes: info.Bytes, read: read, close: b.Close}, nil
}

// all reads an object that is known to be small.
func (s *source) all(ctx context.Context) ([]byte, error) {
	b := make([]byte, s.bytes)
	return b, s.read(ctx, b, 0)
}

// inspect prints an object. The object's first bytes say what it is.
func inspect(ctx context.Context, w io.Writer, s *source, opts object.InspectOptions) error {
	var magic [4]byte
	if s.bytes >= int64(len(magic)) {
		if err := s.read(ctx, magic[:], 0); err != nil {
			return err
		}
	}
	switch {
	case strings.HasPrefix(s.name, probePrefix):
		_, err := fmt.Fprintf(w, "a probe of the store, %d bytes, left by a broker that stopped meanwhile; its next start deletes it\n", s.bytes)
		return err
	case string(magic[:]) == linkMagic:
		return inspectLink(ctx, w, s, opts)
	case magic[0] == '{':
		return inspectCluster(ctx, w, s)
	}
	if err := object.Inspect(ctx, w, s.read, s.bytes, opts); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	return rightPlace(ctx, s)
}

// rightPlace compares a bundle that was found under an object's key with that key.
func rightPlace(ctx context.Context, s *source) error {
	parts, err := object.ParseKey(s.name)
	if err != nil || parts.Kind == object.KindManifest {
		return nil // a file, or an object that does not repeat all parts of its key
	}
	head := make([]byte, object.HeaderBytes)
	if err := s.read(ctx, head, 0); err != nil {
		return err
	}
	h, err := object.DecodeHeader(head)
	if err == nil && (h.ClusterID != parts.ClusterID || h.Object != parts.Object || h.Incarnation != parts.Writer) {
		err = fmt.Errorf("%w: it says that it is object %s of incarnation %s, cluster %s", object.ErrCorrupt, h.Object, h.Incarnation, h.ClusterID)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	return nil
}

func inspectCluster(ctx context.Context, w io.Writer, s *source) error {
	b, err := s.all(ctx)
	if err != nil {
		return err
	}
	if _, err := metadata.DecodeClusterFile(b); err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}
