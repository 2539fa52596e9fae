// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"

	"github.com/caddy-wechat/caddy-wechat/store"
)

// MinKeyLen is the length, in bytes, below which a signing key is refused:
// HS256 is only as strong as its key.
const MinKeyLen = 32

// storedKeyName is where a key that nobody configured is kept.
const storedKeyName = "signing-key"

// key is one secret that signs cookies, and the name by which a cookie says
// which secret signed it.
type key struct {
	id     string
	secret []byte
}

// Keys yields the signing keys: the first signs, all verify.
type Keys struct {
	store store.Store

	mu   sync.Mutex
	keys []key
}

// FixedKeys uses the operator's own secrets, newest first. It returns an error
// that names the position of a secret which is too short.
func FixedKeys(secrets ...string) (*Keys, error) {
	if len(secrets) == 0 {
		return nil, errors.New("no signing key given")
	}
	keys := make([]key, 0, len(secrets))
	for i, s := range secrets {
		if len(s) < MinKeyLen {
			return nil, fmt.Errorf("signing key %d has %d bytes, at least %d are needed: make one with `openssl rand -base64 32`", i+1, len(s), MinKeyLen)
		}
		keys = append(keys, newKey([]byte(s)))
	}
	return &Keys{keys: keys}, nil
}

// StoredKeys uses a secret that the first node to need one makes and keeps in
// the store, where all nodes find it.
func StoredKeys(s store.Store) *Keys {
	return &Keys{store: s}
}

// load returns the keys, reading or making the stored one at the first call.
func (k *Keys) load(ctx context.Context) ([]key, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.keys != nil {
		return k.keys, nil
	}
	secret, err := storedSecret(ctx, k.store)
	if err != nil {
		return nil, err
	}
	k.keys = []key{newKey(secret)}
	return k.keys, nil
}

// storedSecret reads the secret kept in the store, or makes it. Of several
// nodes that find none, Create lets one win; all then read the winner's.
func storedSecret(ctx context.Context, s store.Store) ([]byte, error) {
	for range 2 {
		secret, found, err := s.Get(ctx, storedKeyName)
		if err != nil {
			return nil, fmt.Errorf("reading the signing key: %w", err)
		}
		if found {
			if len(secret) < MinKeyLen {
				return nil, fmt.Errorf("the stored signing key has %d bytes, at least %d are needed: delete %q from the store", len(secret), MinKeyLen, storedKeyName)
			}
			return secret, nil
		}
		fresh := make([]byte, MinKeyLen)
		_, _ = rand.Read(fresh) // never fails since Go 1.24
		if _, err := s.Create(ctx, storedKeyName, fresh, 0); err != nil {
			return nil, fmt.Errorf("keeping a new signing key: %w", err)
		}
	}
	return nil, errors.New("the signing key vanishes from the store as soon as it is written")
}

func newKey(secret []byte) key {
	sum := sha256.Sum256(append([]byte("caddy-wechat key id\x00"), secret...))
	return key{id: base64.RawURLEncoding.EncodeToString(sum[:6]), secret: secret}
}
