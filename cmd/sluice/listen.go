package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"syscall"

	"github.com/sluicemq/sluice/node"
)

// portsTried is how many ports a start tries if it may take the next free one.
const portsTried = 100

func joined(items []string) string { return strings.Join(items, ",") }

// listen opens every address of the configuration, or none.
func (s *settings) listen(log *slog.Logger) (clients []node.Listener, admin net.Listener, err error) {
	defer func() {
		if err != nil {
			closeListeners(clients, admin)
		}
	}()
	for i := range s.listeners {
		l := &s.listeners[i]
		nl, err := listenAt(l.Address(), "listeners", s.config.At("listeners"), s.clientsMayMove, log)
		if err != nil {
			return clients, nil, err
		}
		clients = append(clients, node.Listener{Listener: nl, Name: l.Name, Host: l.AdvertisedHost, Port: int32(l.AdvertisedPort)})
	}
	if s.admin != "" {
		admin, err = listenAt(s.admin, "sluice.admin.listener", s.config.At("sluice.admin.listener"), s.adminMayMove, log)
	}
	return clients, admin, err
}

func closeListeners(clients []node.Listener, admin net.Listener) {
	for _, l := range clients {
		_ = l.Close() // nothing was sent over it
	}
	if admin != nil {
		_ = admin.Close()
	}
}

// listenAt opens an address, or the next free port of its host if that is allowed.
func listenAt(address, key, place string, mayMove bool, log *slog.Logger) (net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", address)
	first, _ := strconv.Atoi(port)
	for next := first + 1; mayMove && errors.Is(err, syscall.EADDRINUSE) && next < first+portsTried; next++ {
		if l, err = net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(next))); err == nil {
			log.Info("the port is in use; taking the next free one", "key", key, "port", first, "instead", next)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s (%s): cannot listen on %s: %s", key, place, address, whyNotListening(err, host, port))
	}
	return l, nil
}

// whyNotListening says what to do about the error.
func whyNotListening(err error, host, port string) string {
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Sprintf("port %s is in use: stop what uses it, or choose another port", port)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Sprintf("%s is no address of this machine: listen on one that is, or on 0.0.0.0 and name %s in advertised.listeners", host, host)
	case errors.Is(err, syscall.EACCES):
		return fmt.Sprintf("port %s is reserved for the system: choose one above 1023", port)
	case errors.As(err, &dns):
		return fmt.Sprintf("the name %s is not known: write an address of this machine", host)
	}
	return err.Error()
}
