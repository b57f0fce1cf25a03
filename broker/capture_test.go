package broker

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"iter"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/sluicemq/sluice/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestCapturedClients replays frames that stock clients sent. A line of testdata/captured.txt has
// the client, api/version, correlation id, client id and the frame in hex. Each frame is decoded to
// its last byte, as the request that it was.
func TestCapturedClients(t *testing.T) {
	n := 0
	for col, frame := range captured(t) {
		n++
		h, body, err := protocol.ParseRequestHeader(frame)
		if err != nil {
			t.Errorf("%s %s: %v", col[0], col[1], err)
			continue
		}
		if got := fmt.Sprintf("%s/%d", kmsg.NameForKey(h.Key), h.Version); got != col[1] || strconv.Itoa(int(h.CorrelationID)) != col[2] || h.ClientID != col[3] {
			t.Errorf("%s %s: read as %s id %d client %q", col[0], col[1], got, h.CorrelationID, h.ClientID)
		}
		if _, err := protocol.RequestCost(h.Key, h.Version, body); err != nil {
			t.Errorf("%s %s: %v", col[0], col[1], err)
		}
		req, err := protocol.DecodeRequest(h.Key, h.Version, body)
		if err != nil {
			t.Errorf("%s %s: %v", col[0], col[1], err)
			continue
		}
		if got := hex.EncodeToString(req.AppendTo(nil)); got != hex.EncodeToString(body) {
			t.Errorf("%s %s: encoded again it is\n%s, was\n%x", col[0], col[1], got, body)
		}
	}
	if n < 10 {
		t.Errorf("%d captured frames", n)
	}
}

// captured yields the columns and the frame of each line.
func captured(t testing.TB) iter.Seq2[[]string, []byte] {
	return func(yield func([]string, []byte) bool) {
		f, err := os.Open("testdata/captured.txt")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, mib)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "#") {
				continue
			}
			col := strings.Fields(lines.Text())
			if len(col) != 5 {
				t.Fatalf("line %q", lines.Text())
			}
			frame, err := hex.DecodeString(col[4])
			if err != nil {
				t.Fatalf("line %q: %v", lines.Text(), err)
			}
			if !yield(col, frame) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			t.Fatal(err)
		}
	}
}
