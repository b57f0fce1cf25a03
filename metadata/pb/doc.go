// Package pb is the generated protobuf code of the metadata quorum's commands
// and snapshot. metadata.proto is the source; the layout around the messages,
// the rules of evolution and the checks are in docs/formats/metadata.md.
// It promises nothing beyond what protoc-gen-go does. No goroutines, no locks.
// Imports: protobuf's runtime only.
package pb

// The checksum tells the test whether metadata.proto was changed since.
// protoc-gen-go is a tool of go.mod, at the version of the runtime that the code needs.
//
//go:generate sh -c "protoc --plugin=protoc-gen-go=$(go tool -n protoc-gen-go) --proto_path=. --go_out=. --go_opt=paths=source_relative metadata.proto"
//go:generate sh -c "sha256sum metadata.proto > metadata.proto.sha256"
