package pb

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"
	"testing"
)

func TestGeneratedCodeIsFresh(t *testing.T) {
	source, err := os.ReadFile("metadata.proto")
	if err != nil {
		t.Fatal(err)
	}
	recorded, err := os.ReadFile("metadata.proto.sha256")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(source)
	if want, _, _ := strings.Cut(string(recorded), " "); want != hex.EncodeToString(sum[:]) {
		t.Fatal("metadata.proto was changed: run go generate ./metadata/pb")
	}
}

// The generator that go.mod pins is the one that the code was made with.
func TestGeneratorIsPinned(t *testing.T) {
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("metadata.pb.go")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(mod), "\ntool google.golang.org/protobuf/cmd/protoc-gen-go\n") {
		t.Error("go.mod does not name protoc-gen-go as a tool")
	}
	_, made, _ := strings.Cut(string(code), "protoc-gen-go v")
	made, _, _ = strings.Cut(made, "\n")
	if !strings.Contains(string(mod), "\tgoogle.golang.org/protobuf v"+made+"\n") {
		t.Errorf("metadata.pb.go was made by protoc-gen-go v%s, go.mod pins another: run go generate ./metadata/pb", made)
	}
}

// Every kind of command that the oneof has is in the golden list: a number
// that was used once keeps its meaning for ever.
func TestCommandNumbersStay(t *testing.T) {
	golden := []string{
		16: "Bootstrap", 17: "RegisterIncarnation", 18: "OpenIncarnation", 19: "RetireTail",
		20: "CreateTopic", 21: "DeleteTopic", 22: "CreatePartitions", 23: "SetConfigs",
		24: "AllocateProducerIds", 25: "ReserveObjects", 26: "CommitFlush", 27: "SwapManifest",
		28: "ReleaseRanges", 29: "ExpireObjects", 30: "AdvanceLogStart", 31: "SnapshotStored",
		32: "ConfirmDeleted", 33: "Restore", 34: "RestoreSections", 35: "RestoreDone",
		36: "SetBrokerConfigs",
	}
	fields := (&Command{}).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if n := int(f.Number()); n >= len(golden) || golden[n] != string(f.Message().Name()) {
			t.Errorf("kind %d is %s", n, f.Message().Name())
		}
	}
}
