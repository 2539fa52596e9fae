// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redistest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const (
	slots   = 16384 // hash slots of a cluster
	masters = 3     // of ours, with one replica each
)

// Cluster is a Redis Cluster of three masters with one replica each. Its
// cluster-node-timeout is 1000 ms.
type Cluster struct{ nodes []*Server }

// StartCluster starts a cluster. It returns when each node sees the cluster
// complete and each replica is in sync.
func StartCluster(t Env) *Cluster {
	t.Helper()
	c := new(Cluster)
	for range 2 * masters {
		c.nodes = append(c.nodes, startNode(t))
	}
	c.assignSlots(t)
	c.meet(t)
	until(t, "nodes that know each other", c.acquainted)
	for i, n := range c.nodes[masters:] {
		n.Do(t, "CLUSTER", "REPLICATE", c.nodes[i].Do(t, "CLUSTER", "MYID"))
	}
	until(t, "a complete cluster", c.complete)
	return c
}

func startNode(t Env) *Server {
	t.Helper()
	return start(t, nil, func() []string {
		return []string{
			`save ""`, "shutdown-on-sigterm save", "repl-diskless-sync-delay 0",
			"cluster-enabled yes", "cluster-node-timeout 1000", "cluster-announce-ip 127.0.0.1",
			fmt.Sprintf("cluster-port %d", freePort(t)),
		}
	})
}

// assignSlots gives each master a third of the slots. Each has an epoch of its
// own, or the nodes would first have to settle which one prevails.
func (c *Cluster) assignSlots(t Env) {
	t.Helper()
	for i, n := range c.nodes {
		n.Do(t, "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
	}
	for i, n := range c.nodes[:masters] {
		first, last := i*slots/masters, (i+1)*slots/masters-1
		n.Do(t, "CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(first), strconv.Itoa(last))
	}
}

// meet introduces each node to each other one, as gossip alone takes longer.
func (c *Cluster) meet(t Env) {
	t.Helper()
	for i, n := range c.nodes {
		for _, other := range c.nodes[i+1:] {
			bus := fields(other.Do(t, "CONFIG", "GET", "cluster-port"))["cluster-port"]
			n.Do(t, "CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(other.port), bus)
		}
	}
}

// acquainted says which node does not know the others yet.
func (c *Cluster) acquainted() error {
	for _, n := range c.nodes {
		nodes, err := n.try("CLUSTER", "NODES")
		if err != nil {
			return err
		}
		if strings.Count(nodes, "connected") != len(c.nodes) || strings.Contains(nodes, "handshake") ||
			strings.Contains(nodes, "disconnected") {
			return fmt.Errorf("%s sees:\n%s", n.Addr(), nodes)
		}
	}
	return nil
}

// complete says which node does not see the cluster complete.
func (c *Cluster) complete() error {
	for i, n := range c.nodes {
		if err := n.clusterOK(); err != nil {
			return err
		}
		nodes, err := n.try("CLUSTER", "NODES")
		if err != nil {
			return err
		}
		if strings.Count(nodes, "slave ") != masters {
			return fmt.Errorf("%s sees not all replicas:\n%s", n.Addr(), nodes)
		}
		if i < masters {
			if err := insync(n, 1); err != nil {
				return err
			}
		}
	}
	return nil
}

// clusterOK says why a node does not serve its slots.
func (s *Server) clusterOK() error {
	info, err := s.try("CLUSTER", "INFO")
	if err != nil {
		return err
	}
	if !strings.Contains(info, "cluster_state:ok") {
		return fmt.Errorf("%s sees:\n%s", s.Addr(), info)
	}
	return nil
}

// Addrs are the addresses of all nodes.
func (c *Cluster) Addrs() []string { return addrs(c.nodes) }

// Nodes are all nodes, masters and replicas.
func (c *Cluster) Nodes() []*Server { return c.nodes }

// Masters are the nodes that serve the slots now, in the order of the slots. It
// waits until each slot is served, so after a master's Kill for the promotion.
func (c *Cluster) Masters(t Env) []*Server {
	t.Helper()
	var serving []*Server
	until(t, "a master for each slot", func() error {
		owners := c.owners()
		if slices.Contains(owners, nil) {
			return errors.New("some have none")
		}
		serving = nil
		for _, owner := range slices.Compact(owners) {
			if !slices.Contains(serving, owner) {
				serving = append(serving, owner)
			}
		}
		return allOK(serving)
	})
	return serving
}

func allOK(nodes []*Server) error {
	for _, n := range nodes {
		if err := n.clusterOK(); err != nil {
			return err
		}
	}
	return nil
}

// MasterOf is the node that serves a key now. It waits until one does, so after
// a master's Kill for the promotion of its replica.
func (c *Cluster) MasterOf(t Env, key string) *Server {
	t.Helper()
	var owner *Server
	until(t, "a master for "+key, func() error {
		slot, err := c.slot(key)
		if err != nil {
			return err
		}
		if owner = c.owners()[slot]; owner == nil {
			return fmt.Errorf("slot %d has none", slot)
		}
		return owner.clusterOK()
	})
	return owner
}

// slot asks the first node that answers.
func (c *Cluster) slot(key string) (int, error) {
	err := errors.New("no node runs")
	for _, n := range c.nodes {
		if !n.answers() {
			continue
		}
		var answer string
		if answer, err = n.try("CLUSTER", "KEYSLOT", key); err == nil {
			return strconv.Atoi(answer)
		}
	}
	return 0, err
}

// claim is what a node says it serves.
type claim struct {
	node  *Server
	epoch int // the later one prevails
	slots []string
}

// owners are the nodes of the slots, by what each node says of itself: what it
// says of others may be old.
func (c *Cluster) owners() []*Server {
	var claims []claim
	for _, n := range c.nodes {
		if !n.answers() {
			continue
		}
		nodes, err := n.try("CLUSTER", "NODES")
		if err != nil {
			continue // it was just killed
		}
		claims = append(claims, readClaim(n, nodes))
	}
	slices.SortFunc(claims, func(a, b claim) int { return cmp.Compare(a.epoch, b.epoch) })
	owners := make([]*Server, slots)
	for _, claim := range claims {
		for _, r := range claim.slots {
			claim.take(owners, r)
		}
	}
	return owners
}

// readClaim reads the line of CLUSTER NODES that is of the node itself:
// id, address, flags, master, two times, epoch, link, and the slots.
func readClaim(n *Server, nodes string) claim {
	for line := range strings.Lines(nodes) {
		f := strings.Fields(line)
		if len(f) > 8 && strings.HasPrefix(f[2], "myself,master") {
			epoch, _ := strconv.Atoi(f[6])
			return claim{n, epoch, f[8:]}
		}
	}
	return claim{node: n}
}

// take enters a range of slots, "7" or "0-5460"; one that is being moved,
// "[7->-…]", is also named without brackets.
func (c claim) take(owners []*Server, r string) {
	low, high, isRange := strings.Cut(r, "-")
	if !isRange {
		high = low
	}
	first, err1 := strconv.Atoi(low)
	last, err2 := strconv.Atoi(high)
	if err1 != nil || err2 != nil {
		return
	}
	for slot := first; slot <= last; slot++ {
		owners[slot] = c.node
	}
}
