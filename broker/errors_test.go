package broker

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicemq/sluice/broker/coordinator"
	"github.com/sluicemq/sluice/broker/group"
	"github.com/sluicemq/sluice/catalog"
	"github.com/sluicemq/sluice/protocol"
	"github.com/sluicemq/sluice/storage"
)

// sentinels are the exported errors of the packages from which the broker gets errors.
var sentinels = map[string]error{
	"storage.ErrUnknownPartition": storage.ErrUnknownPartition, "storage.ErrNotLeader": storage.ErrNotLeader,
	"storage.ErrNotReady": storage.ErrNotReady, "storage.ErrStuck": storage.ErrStuck, "storage.ErrThrottled": storage.ErrThrottled, "storage.ErrWALFailed": storage.ErrWALFailed,
	"storage.ErrClosed": storage.ErrClosed, "storage.ErrOutOfOrder": storage.ErrOutOfOrder, "storage.ErrStaleProducer": storage.ErrStaleProducer,
	"storage.ErrInvalidTxnState": storage.ErrInvalidTxnState, "storage.ErrOffsetOutOfRange": storage.ErrOffsetOutOfRange,
	"storage.ErrFencedLeaderEpoch": storage.ErrFencedLeaderEpoch, "storage.ErrUnknownEpoch": storage.ErrUnknownEpoch,
	"storage.ErrUnavailable": storage.ErrUnavailable, "storage.ErrCorrupt": storage.ErrCorrupt, "storage.ErrTooManyProducers": storage.ErrTooManyProducers,
	"storage.ErrUnsupportedTimestamp": storage.ErrUnsupportedTimestamp, "storage.ErrLeadershipLost": storage.ErrLeadershipLost,
	"storage.ErrTooLarge":    storage.ErrTooLarge,
	"catalog.ErrTopicExists": catalog.ErrTopicExists, "catalog.ErrTopicNotFound": catalog.ErrTopicNotFound,
	"catalog.ErrInvalidPartitions": catalog.ErrInvalidPartitions, "catalog.ErrFenced": catalog.ErrFenced,
	"catalog.ErrNotPrepared": catalog.ErrNotPrepared, "catalog.ErrConflict": catalog.ErrConflict,
	"catalog.ErrUnavailable": catalog.ErrUnavailable, "catalog.ErrInvalidConfig": catalog.ErrInvalidConfig,
	"protocol.ErrCorruptBatch": protocol.ErrCorruptBatch, "protocol.ErrUnknownCodec": protocol.ErrUnknownCodec,
	"protocol.ErrTooLarge": protocol.ErrTooLarge, "protocol.ErrMalformed": protocol.ErrMalformed,
	"group.ErrMetadataTooLarge": group.ErrMetadataTooLarge, "group.ErrIllegalGeneration": group.ErrIllegalGeneration,
	"group.ErrInconsistentProtocol": group.ErrInconsistentProtocol, "group.ErrInvalidGroupID": group.ErrInvalidGroupID,
	"group.ErrUnknownMember": group.ErrUnknownMember, "group.ErrInvalidSession": group.ErrInvalidSession,
	"group.ErrRebalanceInProgress": group.ErrRebalanceInProgress, "group.ErrNotEmpty": group.ErrNotEmpty, "group.ErrNotFound": group.ErrNotFound,
	"group.ErrMemberIDRequired": group.ErrMemberIDRequired, "group.ErrMaxSize": group.ErrMaxSize, "group.ErrNoMemory": group.ErrNoMemory, "group.ErrTooLong": group.ErrTooLong,
	"group.ErrFencedInstance": group.ErrFencedInstance, "group.ErrSubscribed": group.ErrSubscribed,
	"coordinator.ErrLoading": coordinator.ErrLoading, "coordinator.ErrNotAvailable": coordinator.ErrNotAvailable,
	"coordinator.ErrNotCoordinator": coordinator.ErrNotCoordinator,
}

// exportedErrors lists the package-level variables Err… of a folder's Go files.
func exportedErrors(t *testing.T, pkg string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", pkg, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, s := range g.Specs {
				for _, id := range s.(*ast.ValueSpec).Names {
					if strings.HasPrefix(id.Name, "Err") {
						names = append(names, filepath.Base(pkg)+"."+id.Name)
					}
				}
			}
		}
	}
	return names
}

// TestEverySentinelHasACode walks the sentinels that exist in the source, so that a new one cannot
// be forgotten here.
func TestEverySentinelHasACode(t *testing.T) {
	found := 0
	for _, pkg := range []string{"storage", "catalog", "protocol", "broker/group", "broker/coordinator"} {
		for _, name := range exportedErrors(t, pkg) {
			found++
			err, ok := sentinels[name]
			if !ok {
				t.Errorf("%s is not listed here", name)
				continue
			}
			rows := 0
			for _, c := range codes {
				if c.err == err {
					rows++
				}
			}
			if rows != 1 {
				t.Errorf("%s has %d rows in errors.go, want 1", name, rows)
			}
			if got, want := codeOf(fmt.Errorf("wrapped: %w", err)), codeOf(err); got != want {
				t.Errorf("%s wrapped: %s, want %s", name, got, want)
			}
		}
	}
	if found != len(sentinels) {
		t.Errorf("found %d sentinels in the source, %d are listed here", found, len(sentinels))
	}
	if got := codeOf(errors.New("anything")); got != protocol.CodeUnknownServerError {
		t.Errorf("an unknown error is %s", got)
	}
	if got := codeOf(nil); got != protocol.CodeNone {
		t.Errorf("no error is %s", got)
	}
}

// TestFetchAnswersOnlyWhatConsumersKnow: any error at any version gives a code that the Java
// consumer accepts (docs/kafka-behaviour.md).
func TestFetchAnswersOnlyWhatConsumersKnow(t *testing.T) {
	known := map[protocol.Code]bool{0: true, 6: true, 9: true, 56: true, 74: true, 78: true, 3: true, 100: true, 103: true, 1: true, 29: true, 75: true, -1: true, 2: true}
	all := []error{nil, errors.New("anything"), context.Canceled}
	for _, c := range codes {
		all = append(all, c.err)
	}
	for _, err := range all {
		for version := int16(4); version <= 18; version++ {
			code := fetchCode(err, version)
			if !known[code] {
				t.Errorf("%v at version %d: %s", err, version, code)
			}
			if version < 6 && code == protocol.CodeKafkaStorageError || version < 11 && code == protocol.CodeOffsetNotAvailable {
				t.Errorf("%v at version %d: %s is not known yet", err, version, code)
			}
		}
	}
	if fetchCode(storage.ErrNotReady, 12) == protocol.CodeOffsetOutOfRange {
		t.Error("a partition that loads is answered with OFFSET_OUT_OF_RANGE")
	}
}
