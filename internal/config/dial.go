package config

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// A peer that is gone without a word is to be found out within seconds: by probes while
// nobody speaks, and, where what was sent is not acknowledged, so that there are no
// probes, by a limit of its own. Units are seconds, and milliseconds for the limit.
const (
	keepaliveIdle     = 5
	keepaliveInterval = 2
	keepaliveCount    = 3
	userTimeout       = 11_000

	tcpUserTimeout = 18 // TCP_USER_TIMEOUT of Linux, which package syscall lacks
)

// dial makes a configuration connect as libpq's parameters for TCP say.
func (s settings) dial(server *pgconn.Config) error {
	numbers := map[string]int{
		"keepalives": 1, "keepalives_idle": keepaliveIdle, "keepalives_interval": keepaliveInterval,
		"keepalives_count": keepaliveCount, "tcp_user_timeout": userTimeout,
	}
	for keyword, standard := range numbers {
		if s[keyword] == "" {
			continue
		}
		number, err := strconv.Atoi(s[keyword])
		if err != nil || number < 0 {
			return fmt.Errorf("the parameter %s must be a number, 0 or more", keyword)
		}
		if number == 0 && keyword != "keepalives" {
			number = standard // the system's default, in libpq's words
		}
		numbers[keyword] = number
	}
	dialer := &net.Dialer{
		Timeout: server.ConnectTimeout,
		KeepAliveConfig: net.KeepAliveConfig{
			Enable:   numbers["keepalives"] != 0,
			Idle:     time.Duration(numbers["keepalives_idle"]) * time.Second,
			Interval: time.Duration(numbers["keepalives_interval"]) * time.Second,
			Count:    numbers["keepalives_count"],
		},
		Control: func(network, _ string, conn syscall.RawConn) error {
			if strings.HasPrefix(network, "tcp") {
				// Where there is no such option, the probes have to do.
				_ = conn.Control(func(fd uintptr) {
					_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, numbers["tcp_user_timeout"])
				})
			}
			return nil
		},
	}
	if numbers["keepalives"] == 0 {
		dialer.KeepAlive = -1
	}
	server.DialFunc = dialer.DialContext
	return s.lookup(server)
}

// lookup makes a configuration use the addresses in hostaddr, one for each host; an empty
// one is looked up.
func (s settings) lookup(server *pgconn.Config) error {
	if s["hostaddr"] == "" {
		return nil
	}
	hosts := hostsOf(server)
	addresses := strings.Split(s["hostaddr"], ",")
	if len(addresses) != len(hosts) {
		return fmt.Errorf("there are %d addresses in hostaddr (PGHOSTADDR) for %d hosts", len(addresses), len(hosts))
	}
	found := map[string][]string{}
	for i, address := range addresses {
		if address != "" && strings.HasPrefix(hosts[i], "/") {
			return errors.New("hostaddr (PGHOSTADDR) has an address for a host that is the folder of a socket; leave one of them out")
		}
		if address != "" && net.ParseIP(address) == nil {
			return errors.New("hostaddr (PGHOSTADDR) must be an IP address, or several separated by commas")
		}
		if address != "" {
			found[hosts[i]] = append(found[hosts[i]], address)
		}
	}
	byName := server.LookupFunc
	server.LookupFunc = func(ctx context.Context, host string) ([]string, error) {
		if addresses, ok := found[host]; ok {
			return addresses, nil
		}
		return byName(ctx, host)
	}
	return nil
}

// ways returns the ways in which a connection is tried, in order: for each host one, or
// one with TLS and one without.
func ways(server *pgconn.Config) []*pgconn.FallbackConfig {
	first := &pgconn.FallbackConfig{Host: server.Host, Port: server.Port, TLSConfig: server.TLSConfig}
	return append([]*pgconn.FallbackConfig{first}, server.Fallbacks...)
}

// hostsOf returns the hosts of a configuration, in order. One that pgconn tries with TLS
// and without stands there once.
func hostsOf(server *pgconn.Config) []string {
	var last *pgconn.FallbackConfig
	var hosts []string
	for _, next := range ways(server) {
		if last != nil && next.Host == last.Host && next.Port == last.Port && (next.TLSConfig == nil) != (last.TLSConfig == nil) {
			last = nil // the pair is complete
			continue
		}
		hosts = append(hosts, next.Host)
		last = next
	}
	return hosts
}
