// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redistest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// masterName is what the sentinels call their master.
const masterName = "mymaster"

// Sentinels is a master with two replicas, watched by three sentinels of which
// two must agree. Their down-after-milliseconds is 500.
type Sentinels struct {
	nodes    []*Server // the first was the master at first
	watchers []*Server // the sentinels
}

// StartReplicaSet starts a master, two replicas and three sentinels. It returns
// when the replicas are in sync and the sentinels know all of them and each other.
func StartReplicaSet(t Env) *Sentinels {
	t.Helper()
	announce := "replica-announce-ip 127.0.0.1"
	master := Start(t, announce)
	s := &Sentinels{nodes: []*Server{master}}
	for range 2 {
		s.nodes = append(s.nodes, Start(t, announce, fmt.Sprintf("replicaof 127.0.0.1 %d", master.port)))
	}
	// Sentinels learn of a replica when they ask the master, every 10 s.
	until(t, "replicas in sync", func() error { return insync(master, 2) })
	for range 3 {
		s.watchers = append(s.watchers, startSentinel(t, master))
	}
	until(t, "sentinels that know all", s.acquainted)
	return s
}

func startSentinel(t Env, master *Server) *Server {
	t.Helper()
	s := start(t, []string{"--sentinel"}, func() []string {
		return []string{
			fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d 2", masterName, master.port),
			"sentinel down-after-milliseconds " + masterName + " 500",
			"sentinel failover-timeout " + masterName + " 3000",
			"sentinel parallel-syncs " + masterName + " 1",
		}
	})
	// In milliseconds. How soon a sentinel takes the other sentinels, a promotion
	// and a returned master for known hangs on these, which are seconds.
	s.Do(t, "SENTINEL", "DEBUG", "info-period", "500", "publish-period", "250", "ping-period", "200")
	return s
}

// insync says what a master lacks of its replicas.
func insync(master *Server, replicas int) error {
	info, err := master.try("INFO", "replication")
	if err != nil {
		return err
	}
	if strings.Count(info, "state=online") != replicas {
		return fmt.Errorf("%s: not all of %d replicas are online:\n%s", master.Addr(), replicas, info)
	}
	return nil
}

// AwaitReplicas waits until so many replicas have all that was written to this
// master so far. Do with WAIT cannot tell: that counts the writes of its own
// connection only.
func (s *Server) AwaitReplicas(t Env, replicas int) {
	t.Helper()
	written := offset(s.Do(t, "INFO", "replication"), "master_repl_offset:")
	until(t, "replicas with all writes", func() error {
		info, err := s.try("INFO", "replication")
		if err != nil {
			return err
		}
		have := 0
		for line := range strings.Lines(info) {
			if strings.Contains(line, "state=online") && offset(line, "offset=") >= written {
				have++
			}
		}
		if have < replicas {
			return fmt.Errorf("%d of %d replicas have all up to %d:\n%s", have, replicas, written, info)
		}
		return nil
	})
}

// offset reads the number after a name, or -1.
func offset(info, name string) int {
	_, after, _ := strings.Cut(info, name)
	end := strings.IndexFunc(after, func(r rune) bool { return r < '0' || r > '9' })
	n, err := strconv.Atoi(after[:max(end, 0)])
	if err != nil {
		return -1
	}
	return n
}

// acquainted says what a sentinel does not know yet.
func (s *Sentinels) acquainted() error {
	for _, w := range s.watchers {
		master, err := w.try("SENTINEL", "MASTER", masterName)
		if err != nil {
			return err
		}
		f := fields(master)
		if f["flags"] != "master" || f["num-slaves"] != "2" || f["num-other-sentinels"] != "2" {
			return fmt.Errorf("sentinel %s sees %s replicas, %s other sentinels and a master that is %s",
				w.Addr(), f["num-slaves"], f["num-other-sentinels"], f["flags"])
		}
		if err := w.seesAll("SENTINELS", "sentinel"); err != nil {
			return err
		}
		if err := w.seesAll("REPLICAS", "slave"); err != nil {
			return err
		}
	}
	return nil
}

// seesAll says whether a sentinel sees one of its peers down or unconnected.
func (s *Server) seesAll(list, flags string) error {
	peers, err := s.try("SENTINEL", list, masterName)
	if err != nil {
		return err
	}
	if strings.Count("\n"+peers+"\n", "\nflags\n"+flags+"\n") != 2 {
		return fmt.Errorf("sentinel %s sees not all %s up", s.Addr(), strings.ToLower(list))
	}
	return nil
}

// fields reads lines that are a name and a value in turn.
func fields(answer string) map[string]string {
	lines := strings.Split(answer, "\n")
	m := make(map[string]string)
	for i := 0; i+1 < len(lines); i += 2 {
		m[lines[i]] = lines[i+1]
	}
	return m
}

// Addrs are the addresses of the sentinels.
func (s *Sentinels) Addrs() []string { return addrs(s.watchers) }

// MasterName is what the sentinels call their master.
func (*Sentinels) MasterName() string { return masterName }

// Nodes are the master and the replicas, whichever is which by now.
func (s *Sentinels) Nodes() []*Server { return s.nodes }

// Master is the server that a sentinel names as the master now. It may be down.
func (s *Sentinels) Master(t Env) *Server {
	t.Helper()
	master, err := s.master()
	if err != nil {
		t.Fatalf("asking a sentinel for the master: %v", err)
	}
	return master
}

func (s *Sentinels) master() (*Server, error) {
	answer, err := s.watchers[0].try("SENTINEL", "GET-MASTER-ADDR-BY-NAME", masterName)
	if err != nil {
		return nil, err
	}
	addr := strings.ReplaceAll(answer, "\n", ":")
	for _, n := range s.nodes {
		if n.Addr() == addr {
			return n, nil
		}
	}
	return nil, fmt.Errorf("the sentinel names %q, which is none of ours", addr)
}

// Failover kills the master and waits until a sentinel names another one that
// accepts writes. It returns the killed server: after its Start the sentinels
// make it a replica. Sentinels wait 6 s from one failover to the next.
func (s *Sentinels) Failover(t Env) (killed *Server) {
	t.Helper()
	killed = s.Master(t)
	killed.Kill()
	until(t, "a new master", func() error {
		master, err := s.master()
		if err != nil {
			return err
		}
		if master == killed {
			return errors.New("the sentinel still names the killed one")
		}
		return master.writable()
	})
	return killed
}

// writable says why a server does not accept writes. It writes nothing that stays.
func (s *Server) writable() error {
	_, err := s.try("SET", "redistest:writable", "1", "PX", "1")
	return err
}

func addrs(servers []*Server) []string {
	var all []string
	for _, s := range servers {
		all = append(all, s.Addr())
	}
	return all
}
