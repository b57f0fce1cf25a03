package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestListeners(t *testing.T) {
	for _, c := range []struct {
		name string
		set  []string
		want []Listener
	}{
		{"default", nil, []Listener{{"PLAINTEXT", "127.0.0.1", 9092, "127.0.0.1", 0}}},
		{"any address, with a name", []string{"listeners=PLAINTEXT://0.0.0.0:9092", "advertised.listeners=PLAINTEXT://kafka:29092"},
			[]Listener{{"PLAINTEXT", "0.0.0.0", 9092, "kafka", 29092}}},
		{"several", []string{"listeners=in://10.0.0.1:9092, OUT://:9093,SIDE://[::1]:0", "advertised.listeners=out://kafka.example:443",
			"listener.security.protocol.map=IN:PLAINTEXT,OUT:plaintext,SIDE:PLAINTEXT"},
			[]Listener{{"IN", "10.0.0.1", 9092, "10.0.0.1", 0}, {"OUT", "", 9093, "kafka.example", 443}, {"SIDE", "::1", 0, "::1", 0}}},
		{"one port at two addresses", []string{"listeners=PLAINTEXT://10.0.0.1:9092,B://10.0.0.2:9092", "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,B:PLAINTEXT"},
			[]Listener{{"PLAINTEXT", "10.0.0.1", 9092, "10.0.0.1", 0}, {"B", "10.0.0.2", 9092, "10.0.0.2", 0}}},
		{"controllers are left out", []string{"listeners=PLAINTEXT://h:9092,CONTROLLER://:9093", "controller.listener.names=CONTROLLER"},
			[]Listener{{"PLAINTEXT", "h", 9092, "h", 0}}},
	} {
		cfg, err := Resolve(flags(t, c.set...))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		got, _ := cfg.Listeners()
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s:\n%s", c.name, d)
		}
	}
}

func TestListenerProblems(t *testing.T) {
	for _, c := range []struct {
		set  []string
		want string
	}{
		{[]string{"listeners=127.0.0.1:9092"}, "want NAME://HOST:PORT"},
		{[]string{"listeners=PLAINTEXT://::1:9092"}, "brackets"},
		{[]string{"listeners=PLAINTEXT://h"}, "want NAME://HOST:PORT"},
		{[]string{"listeners=PLAINTEXT://h:kafka"}, "the port is a number"},
		{[]string{"listeners=PLAINTEXT://h:70000"}, "the port is a number"},
		{[]string{"listeners="}, "no listener is left for clients"},
		{[]string{"listeners=CONTROLLER://h:1", "controller.listener.names=CONTROLLER"}, "no listener is left for clients"},
		{[]string{"listeners=PLAINTEXT://h:1,PLAINTEXT://h:2"}, "PLAINTEXT stands twice"},
		{[]string{"listeners=PLAINTEXT://h:1,SSL://h:1"}, "port 1 stands twice"},
		{[]string{"listeners=PLAINTEXT://h:1,SSL://0.0.0.0:1"}, "port 1 stands twice"},
		{[]string{"listeners=MINE://h:1"}, "MINE has no protocol: add MINE:PLAINTEXT to listener.security.protocol.map"},
		{[]string{"listener.security.protocol.map=PLAINTEXT"}, "want NAME:PROTOCOL"},
		{[]string{"advertised.listeners=OTHER://h:1"}, "OTHER is not one of listeners"},
		{[]string{"listeners=PLAINTEXT://:9092"}, "set advertised.listeners=PLAINTEXT://HOST:9092"},
		{[]string{"listeners=PLAINTEXT://[::]:9092"}, "set advertised.listeners=PLAINTEXT://HOST:9092"},
		{[]string{"listeners=PLAINTEXT://0.0.0.0:9092", "advertised.listeners=PLAINTEXT://0.0.0.0:9092"}, "set advertised.listeners=PLAINTEXT://HOST:9092"},
	} {
		got := problemsOf(t, c.set...)
		if len(got) == 0 || !strings.Contains(got.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.set, got, c.want)
		}
	}
}
