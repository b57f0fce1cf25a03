package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sluicemq/sluice/node"
	"github.com/sluicemq/sluice/storage/bucket"
	"github.com/sluicemq/sluice/storage/bucket/open"
)

func devCommand() *cobra.Command {
	var s *settings
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run one broker without configuration",
		Long: `Run one broker on this machine: topics are created on first use, records are
fsynced to a write-ahead log in --dir before they are acknowledged, and moved to
--bucket in the background. Stop it with Ctrl-C; start it again and everything is there.

Budgets and intervals come from the environment, for example SLUICE_WAL_BUDGET_BYTES=8GiB
or SLUICE_FLUSH_INTERVAL=2s. S3 credentials come from the standard AWS chain
(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, a role).`,
		Example: `  sluice dev
  sluice dev --dir /var/lib/sluice --listen 127.0.0.1:19092
  sluice dev --bucket 's3://my-bucket/sluice?region=eu-central-1'
  sluice dev --bucket 's3://test/dev?endpoint=http://127.0.0.1:9000&path_style=true&region=us-east-1'`,
		Args: cobra.NoArgs,
	}
	dir := cmd.Flags().String("dir", "./sluice-data", "data directory: metadata, write-ahead log and, without --bucket, the objects")
	listen := cmd.Flags().String("listen", "127.0.0.1:9092", "HOST:PORT for Kafka clients; they are told this address")
	bucketURL := cmd.Flags().String("bucket", "", "where the log lives: s3://bucket/prefix?region=… or file:///path; default a folder in --dir")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if s, err = environment(); err != nil {
			return err
		}
		s.dir, s.listen, s.bucket = *dir, *listen, *bucketURL
		return dev(cmd.Context(), s, cmd.ErrOrStderr())
	}
	return cmd
}

// dev opens bucket → node → serve and closes in reverse.
func dev(ctx context.Context, s *settings, out io.Writer) (err error) {
	log := slog.New(slog.NewTextHandler(out, nil))
	listener, err := listenOn(s.listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	b, err := openBucket(ctx, s)
	if err != nil {
		return err
	}
	defer closing(&err, b.Close)
	n, err := node.Open(ctx, s.nodeConfig(), node.Deps{Bucket: b, Listeners: []node.Listener{{Listener: listener}}, Log: log})
	if err != nil {
		return err
	}
	defer closing(&err, n.Close)
	log.Info("listening", "version", version, "address", listener.Addr().String(), "dir", s.dir, "bucket", s.bucketName(), "durability", "local", "cluster", n.ClusterID())
	return n.Serve(ctx)
}

// closing joins a closer's error to err.
func closing(err *error, close func() error) { *err = errors.Join(*err, close()) }

// listenOn opens the client port, saying what to do if it is taken.
func listenOn(address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("--listen %q: want HOST:PORT, such as 127.0.0.1:9092", address)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return nil, fmt.Errorf("--listen %q: clients are told this address, so it must be one that they can reach: name this host's address", address)
	}
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("--listen %s: the port is in use: stop what uses it, or choose another port with --listen", address)
	}
	return l, err
}

// openBucket opens --bucket, or the folder in the data directory.
func openBucket(ctx context.Context, s *settings) (bucket.Bucket, error) {
	var err error
	if s.bucket, err = bucketURL(s.bucket, s.dir); err != nil {
		return nil, err
	}
	return open.Open(ctx, s.bucket, open.Options{})
}

// bucketURL is what was given, or the folder in the data directory.
func bucketURL(given, dir string) (string, error) {
	if given != "" {
		return given, nil
	}
	path, err := filepath.Abs(filepath.Join(dir, "bucket"))
	if err != nil {
		return "", err
	}
	return (&url.URL{Scheme: "file", Path: path}).String(), nil
}

// bucketName is the bucket's URL without its query, for the log.
func (s *settings) bucketName() string {
	u, err := url.Parse(s.bucket)
	if err != nil {
		return s.bucket
	}
	return u.Scheme + "://" + u.Host + u.Path
}

// nodeID is the broker's id: there is one broker.
const nodeID = 1

func (s *settings) nodeConfig() node.Config {
	return node.Config{
		Dir: s.dir, NodeID: nodeID, Storage: s.storage, Broker: s.broker,
		SnapshotInterval: s.snapshotInterval, SnapshotSoon: s.snapshotSoon,
		BucketWait: s.bucketWait, StopTimeout: s.stopTimeout,
	}
}
