// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The tests in this file need a second process. They run the test binary anew,
// with these set.
const (
	childModeEnv = "EMBEDDED_TEST_CHILD_MODE"
	childDirEnv  = "EMBEDDED_TEST_CHILD_DIR"
)

// runChild does what a child process is for and ends it; in the parent it does nothing.
func runChild() {
	mode := os.Getenv(childModeEnv)
	if mode == "" {
		return
	}
	s := New(Config{Dir: os.Getenv(childDirEnv)})
	if err := s.Open(); err != nil {
		panic(err)
	}
	switch mode {
	case "write":
		writeForever(s)
	case "hold":
		say("open")
		_, _ = io.Copy(io.Discard, os.Stdin) // until the parent closes it
		_ = s.Close()
	}
	os.Exit(0)
}

// say writes one line in one call, so that a kill leaves no half of it.
func say(words ...string) {
	if _, err := os.Stdout.WriteString(strings.Join(words, " ") + "\n"); err != nil {
		os.Exit(1)
	}
}

// writeForever says after each write that it was acknowledged, and before each
// deletion that it may happen now.
func writeForever(s *Store) {
	ctx := context.Background()
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("session:%d:%d", w, i)
				must(s.Set(ctx, key, []byte("of "+key), time.Hour))
				say("set", key)
				if i%3 == 0 {
					say("deleting", key)
					_, err := s.Delete(ctx, key)
					must(err)
					say("deleted", key)
				}
				count := 0
				must(s.Update(ctx, "counter", func(current []byte, _ bool) ([]byte, time.Duration, error) {
					count, _ = strconv.Atoi(string(current))
					count++
					return []byte(strconv.Itoa(count)), 0, nil
				}))
				say("counted", strconv.Itoa(count))
			}
		})
	}
	writers.Wait()
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// startChild runs the test binary in mode on dir. It is killed at the end of the
// test if it still runs.
func startChild(t *testing.T, mode, dir string) (child *exec.Cmd, in io.Closer, out *bufio.Scanner) {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child = exec.CommandContext(t.Context(), binary)
	child.Env = append(os.Environ(), childModeEnv+"="+mode, childDirEnv+"="+dir)
	child.Stderr = os.Stderr
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	return child, stdin, bufio.NewScanner(stdout)
}

// The machine kills the process in the middle of its writes, time and again. A
// session, a revocation or a user that was acknowledged is not lost.
func TestStore_SurvivesKill(t *testing.T) {
	dir := t.TempDir()
	for round := range 3 {
		t.Run(strconv.Itoa(round), func(t *testing.T) {
			said := killWhileWriting(t, dir, 400*(round+1))
			s := open(t, dir, nil)
			checkAcknowledged(t, s, said)
			for key := range said["set"] {
				if _, err := s.Delete(t.Context(), key); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := s.Delete(t.Context(), "counter"); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// killWhileWriting kills a writing child after some lines and returns what it
// had said: verb → object → true.
func killWhileWriting(t *testing.T, dir string, lines int) map[string]map[string]bool {
	t.Helper()
	said := map[string]map[string]bool{"set": {}, "deleting": {}, "deleted": {}, "counted": {}}
	child, _, out := startChild(t, "write", dir)
	for n := 0; out.Scan(); n++ {
		verb, object, _ := strings.Cut(out.Text(), " ")
		said[verb][object] = true
		if n == lines {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := child.Wait(); err == nil {
		t.Fatal("the child ended by itself; it should have been killed while writing")
	}
	return said
}

func checkAcknowledged(t *testing.T, s *Store, said map[string]map[string]bool) {
	t.Helper()
	if len(said["set"]) == 0 || len(said["deleted"]) == 0 || len(said["counted"]) == 0 {
		t.Fatalf("the child acknowledged too little: %d, %d, %d", len(said["set"]), len(said["deleted"]), len(said["counted"]))
	}
	for key := range said["set"] {
		value, found, err := s.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if said["deleted"][key] && found {
			t.Errorf("%s is back after its acknowledged deletion", key)
		}
		if !said["deleting"][key] && string(value) != "of "+key {
			t.Errorf("%s was acknowledged and is now %q, %v", key, value, found)
		}
	}
	highest := 0
	for count := range said["counted"] {
		n, _ := strconv.Atoi(count)
		highest = max(highest, n)
	}
	value, _, err := s.Get(t.Context(), "counter")
	if n, _ := strconv.Atoi(string(value)); err != nil || n < highest {
		t.Errorf("the counter is %q, %v; %d was acknowledged", value, err, highest)
	}
}

// A second Caddy is started on the same directory. It says what is wrong, leaves
// the first alone, and works by itself as soon as the first has ended.
func TestStore_FileOfAnotherProcess(t *testing.T) {
	dir := t.TempDir()
	child, in, out := startChild(t, "hold", dir)
	if !out.Scan() || out.Text() != "open" {
		t.Fatalf("the child said %q", out.Text())
	}
	s := New(Config{Dir: dir})
	defer s.Close()
	wantUnavailable(t, s.Open(), s.path, "another process", "stop the other Caddy")
	_, _, err := s.Get(t.Context(), "key")
	wantUnavailable(t, err, s.path, "another process")
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := s.Set(t.Context(), "key", []byte("value"), 0); err != nil {
		t.Errorf("Set after the other process ended: %v", err)
	}
}
