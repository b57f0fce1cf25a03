package config

import (
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
)

// Listener is one address on which the broker listens.
type Listener struct {
	Name string // in capitals, as in Kafka
	Host string // "", 0.0.0.0 or :: for every address of this machine
	Port uint16 // 0 for any free port
	// AdvertisedHost and AdvertisedPort are what clients are told. Port 0 stands for the port that
	// is listened on.
	AdvertisedHost string
	AdvertisedPort uint16
}

// Address returns where to listen.
func (l *Listener) Address() string { return net.JoinHostPort(l.Host, strconv.Itoa(int(l.Port))) }

var listenerName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// Listeners returns where to listen and what clients are told, in the order of the key "listeners".
func (c *Config) Listeners() ([]Listener, Problems) {
	r := &listenerReader{c: c}
	listeners := r.read("listeners")
	advertised := r.read("advertised.listeners")
	r.protocols(listeners)
	listeners = r.withoutControllers(listeners)
	for i := range listeners {
		r.advertise(&listeners[i], advertised)
	}
	for i := range advertised {
		if named(listeners, advertised[i].Name) == nil && !r.isController(advertised[i].Name) {
			r.bad("advertised.listeners", fmt.Sprintf("%s is not one of listeners", advertised[i].Name))
		}
	}
	return listeners, r.problems
}

// listenerReader gathers the problems of the keys about listeners.
type listenerReader struct {
	c        *Config
	problems Problems
}

func (r *listenerReader) bad(key, reason string) {
	r.problems = append(r.problems, Problem{r.c.At(key), key, reason})
}

func named(listeners []Listener, name string) *Listener {
	for i := range listeners {
		if listeners[i].Name == name {
			return &listeners[i]
		}
	}
	return nil
}

// read parses NAME://HOST:PORT items.
func (r *listenerReader) read(key string) (out []Listener) {
	for _, item := range Split(r.c.Value(key)) {
		l, err := parseListener(item)
		switch {
		case err != nil:
			r.bad(key, fmt.Sprintf("%q: %v", item, err))
		case named(out, l.Name) != nil:
			r.bad(key, fmt.Sprintf("%s stands twice: each listener has a name of its own", l.Name))
		case key == "listeners" && samePort(out, l):
			r.bad(key, fmt.Sprintf("port %d stands twice", l.Port))
		default:
			out = append(out, l)
		}
	}
	return out
}

func samePort(listeners []Listener, l Listener) bool {
	for i := range listeners {
		o := &listeners[i]
		if o.Port == l.Port && l.Port != 0 && (o.Host == l.Host || isAny(o.Host) || isAny(l.Host)) {
			return true
		}
	}
	return false
}

func parseListener(item string) (l Listener, err error) {
	const want = "want NAME://HOST:PORT, such as PLAINTEXT://127.0.0.1:9092"
	name, address, ok := strings.Cut(item, "://")
	if !ok || !listenerName.MatchString(name) {
		return l, fmt.Errorf("%s", want)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return l, fmt.Errorf("%s (an IPv6 address stands in brackets)", want)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return l, fmt.Errorf("the port is a number from 0 to 65535")
	}
	return Listener{Name: strings.ToUpper(name), Host: host, Port: uint16(n)}, nil
}

// protocols refuses listeners with another protocol than plain text.
func (r *listenerReader) protocols(listeners []Listener) {
	const key = "listener.security.protocol.map"
	protocols := map[string]string{}
	for _, item := range Split(r.c.Value(key)) {
		name, protocol, ok := strings.Cut(item, ":")
		if !ok {
			r.bad(key, fmt.Sprintf("%q: want NAME:PROTOCOL", item))
			continue
		}
		protocols[strings.ToUpper(strings.TrimSpace(name))] = strings.ToUpper(strings.TrimSpace(protocol))
	}
	for i := range listeners {
		name := listeners[i].Name
		switch protocol := protocols[name]; {
		case protocol == "PLAINTEXT", r.isController(name):
		case protocol == "":
			r.bad("listeners", fmt.Sprintf("%s has no protocol: add %s:PLAINTEXT to %s", name, name, key))
		default:
			at := key
			if !r.c.IsSet(key) {
				at = "listeners"
			}
			r.bad(at, fmt.Sprintf("listener %s is to speak %s: %s; make it PLAINTEXT to serve in plain text", name, protocol, notThere))
		}
	}
}

func (r *listenerReader) isController(name string) bool {
	for _, c := range Split(r.c.Value("controller.listener.names")) {
		if strings.EqualFold(c, name) {
			return true
		}
	}
	return false
}

func (r *listenerReader) withoutControllers(listeners []Listener) (out []Listener) {
	for _, l := range listeners {
		if !r.isController(l.Name) {
			out = append(out, l)
		}
	}
	if len(out) == 0 && len(r.problems) == 0 {
		r.bad("listeners", "no listener is left for clients")
	}
	return out
}

// advertise fills in what clients of a listener are told.
func (r *listenerReader) advertise(l *Listener, advertised []Listener) {
	key := "listeners"
	l.AdvertisedHost = l.Host
	if a := named(advertised, l.Name); a != nil {
		key = "advertised.listeners"
		l.AdvertisedHost, l.AdvertisedPort = a.Host, a.Port
	}
	if !isAny(l.AdvertisedHost) {
		return
	}
	r.bad(key, fmt.Sprintf("clients are told to connect to %s, which is no address of anybody: set advertised.listeners=%s://HOST:%d, where HOST is the name or address by which they reach this machine",
		net.JoinHostPort(l.AdvertisedHost, strconv.Itoa(int(l.Port))), l.Name, max(l.AdvertisedPort, l.Port)))
}

// isAny reports whether a host stands for every address of the machine.
func isAny(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}
