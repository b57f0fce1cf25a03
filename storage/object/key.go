package object

import (
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"github.com/sluicemq/sluice/ident"
)

// Kind says what an object holds. It is the last part of the object's key.
type Kind string

// Kinds of objects.
const (
	KindBundle   Kind = "bundle"   // batches of many partitions
	KindManifest Kind = "manifest" // root or leaf
	KindSegment  Kind = "segment"  // batches of one partition, in the bundle's format
)

var kinds = [...]Kind{KindBundle, KindManifest, KindSegment}

// Key names an object in the bucket, below the bucket's own prefix:
//
//	<cluster id>/<hash of id, 4 hex>/<generation, 4 hex>-<id, 16 hex>-<writer, 16 hex>.<kind>
//
// The hash spreads objects over the store's partitions. The generation is that of the id (E22).
// writer is the incarnation that wrote the object, which catalog.Range calls Writer; for a range of
// a sealed tail it is not the range's own incarnation. An id is issued once and its key is used
// once (I3).
func Key(clusterID string, id ident.ObjectID, writer ident.Incarnation, kind Kind) string {
	return fmt.Sprintf("%s/%04x/%04x-%s-%s.%s", clusterID, keyHash(id), uint16(id.Generation()), id, writer, kind)
}

// Keys lists every key that an id may have. These are the keys to delete when only the id and its
// writer are known, as for an object that was prepared and never committed.
func Keys(clusterID string, id ident.ObjectID, writer ident.Incarnation) []string {
	keys := make([]string, len(kinds))
	for i, kind := range kinds {
		keys[i] = Key(clusterID, id, writer, kind)
	}
	return keys
}

func keyHash(id ident.ObjectID) uint16 {
	var b [8]byte
	le.PutUint64(b[:], uint64(id))
	return uint16(crc32.Checksum(b[:], castagnoli))
}

// KeyParts is what a key says.
type KeyParts struct {
	ClusterID string
	Object    ident.ObjectID
	Writer    ident.Incarnation
	Kind      Kind
}

// ParseKey reads a key. It accepts exactly the keys that Key makes.
func ParseKey(key string) (KeyParts, error) {
	bad := fmt.Errorf("%q is not the key of an object", key)
	fields := strings.Split(key, "/")
	if len(fields) != 3 {
		return KeyParts{}, bad
	}
	name, kind, _ := strings.Cut(fields[2], ".")
	numbers := strings.Split(name, "-")
	if len(numbers) != 3 {
		return KeyParts{}, bad
	}
	id, err1 := strconv.ParseUint(numbers[1], 16, 64)
	writer, err2 := strconv.ParseUint(numbers[2], 16, 64)
	p := KeyParts{ClusterID: fields[0], Object: ident.ObjectID(id), Writer: ident.Incarnation(writer), Kind: Kind(kind)}
	if err1 != nil || err2 != nil || !validClusterID(p.ClusterID) || Key(p.ClusterID, p.Object, p.Writer, p.Kind) != key {
		return KeyParts{}, bad
	}
	for _, k := range kinds {
		if p.Kind == k {
			return p, nil
		}
	}
	return KeyParts{}, bad
}

// validClusterID requires 1 to clusterIDMax characters of the alphabet of a Kafka UUID.
func validClusterID(s string) bool {
	if len(s) == 0 || len(s) > clusterIDMax {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}
