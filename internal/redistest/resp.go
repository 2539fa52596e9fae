// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redistest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// answerTime bounds one command, in real time.
const answerTime = 5 * time.Second

// command sends one command over a new connection and returns the answer: an
// array as lines, nil as "". An error answer is an error.
func command(addr, password string, args ...string) (string, error) {
	dialer := net.Dialer{Timeout: answerTime}
	conn, err := dialer.DialContext(context.Background(), "tcp", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return "", err
	}
	rw := bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn))
	if password != "" {
		if _, err := roundTrip(rw, "AUTH", password); err != nil {
			return "", fmt.Errorf("authenticating: %w", err)
		}
	}
	return roundTrip(rw, args...)
}

func roundTrip(rw *bufio.ReadWriter, args ...string) (string, error) {
	fmt.Fprintf(rw, "*%d\r\n", len(args))
	for _, arg := range args {
		fmt.Fprintf(rw, "$%d\r\n%s\r\n", len(arg), arg)
	}
	if err := rw.Flush(); err != nil {
		return "", err
	}
	return readReply(rw.Reader)
}

func readReply(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimSuffix(line, "\r\n")
	if line == "" {
		return "", errors.New("reading an answer: an empty line")
	}
	kind, text := line[0], line[1:]
	switch kind {
	case '+', ':':
		return text, nil
	case '-':
		return "", errors.New(text)
	}
	n, err := strconv.Atoi(text)
	switch {
	case err != nil:
		return "", fmt.Errorf("reading an answer %q: %w", line, err)
	case kind == '$':
		return readBulk(r, n)
	case kind == '*':
		return readArray(r, n)
	}
	return "", fmt.Errorf("reading an answer %q: its kind is unknown", line)
}

func readBulk(r *bufio.Reader, n int) (string, error) {
	if n < 0 {
		return "", nil
	}
	buf := make([]byte, n+len("\r\n"))
	if _, err := io.ReadFull(r, buf); err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

func readArray(r *bufio.Reader, n int) (string, error) {
	var lines []string
	for range n {
		line, err := readReply(r)
		if err != nil {
			return "", err
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n"), nil
}
