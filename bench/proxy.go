package main

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// proxy stands between a program and the server. It counts round trips, and can make each
// take longer.
type proxy struct {
	server string        // where it leads
	delay  time.Duration // for each direction

	listener net.Listener
	trips    atomic.Int64 // how often a client, having been answered or not yet, sent something and got an answer
	all      sync.WaitGroup
}

// startProxy returns a proxy that listens.
func startProxy(server string, delay time.Duration) (*proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{server: server, delay: delay, listener: listener}
	p.all.Go(p.serve)
	return p, nil
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) stop() {
	p.listener.Close()
	p.all.Wait()
}

func (p *proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := new(net.Dialer).DialContext(context.Background(), "tcp", p.server)
		if err != nil {
			client.Close()
			continue
		}
		var asked atomic.Bool
		p.all.Go(func() { p.carry(client, server, func() { asked.Store(true) }) })
		p.all.Go(func() {
			p.carry(server, client, func() {
				if asked.CompareAndSwap(true, false) {
					p.trips.Add(1)
				}
			})
		})
	}
}

// carry copies one direction. What comes while something is on its way does not wait for
// that to arrive, as on a cable.
func (p *proxy) carry(from, to net.Conn, came func()) {
	type piece struct {
		data []byte
		due  time.Time
	}
	pieces := make(chan piece, 1024)
	p.all.Go(func() {
		defer to.Close()
		for piece := range pieces {
			time.Sleep(time.Until(piece.due))
			if _, err := to.Write(piece.data); err != nil {
				break
			}
		}
		for range pieces { // so that the reader comes to its end
		}
	})
	defer close(pieces)
	defer from.Close()
	for {
		buffer := make([]byte, 16<<10)
		n, err := from.Read(buffer)
		if n > 0 {
			came()
			pieces <- piece{buffer[:n], time.Now().Add(p.delay)}
		}
		if err != nil {
			return
		}
	}
}
