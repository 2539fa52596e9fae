// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/caddy-wechat/caddy-wechat/store"
)

const (
	// lockTimeout is how long Open waits for the file's lock: long enough for a
	// Caddy that is just ending, short enough for a request that waits.
	lockTimeout = time.Second

	// sweepBatch is how many records one step of the sweeper looks at, so that
	// it never holds up writers for long.
	sweepBatch = 1000
)

var entriesBucket = []byte("entries")

// durable is the database file. Reads are transactions of their own; writes wait
// in queue until one of their callers commits them together.
type durable struct {
	db     *bolt.DB
	file   *os.File // the one that db has open
	path   string
	now    func() time.Time
	damage atomic.Pointer[damage] // what made db unusable

	lead  chan struct{} // holds the token of the caller that commits
	mu    sync.Mutex    // guards queue
	queue []*pending
}

func openDurable(path string, now func() time.Time) (*durable, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, openError(path, err)
	}
	d := &durable{path: path, now: now, lead: make(chan struct{}, 1)}
	if err := d.open(); err != nil {
		return nil, openError(path, err)
	}
	return d, nil
}

// open opens or makes the file. Where bbolt panics over a damaged one, the file is
// closed here, or its lock would keep the repaired one from being opened.
func (d *durable) open() error {
	err := guard(func() error {
		db, err := bolt.Open(d.path, 0o600, d.options())
		if err != nil {
			return err
		}
		d.db = db
		if err := prepare(db); err != nil {
			return errors.Join(err, db.Close())
		}
		return nil
	})
	if errors.Is(err, errDamaged) && d.file != nil {
		_ = d.file.Close() // closed already where bbolt did not panic
	}
	return err
}

func (d *durable) options() *bolt.Options {
	return &bolt.Options{
		Timeout:      lockTimeout,
		FreelistType: bolt.FreelistMapType,
		NoStatistics: true,
		OpenFile: func(name string, flag int, mode os.FileMode) (_ *os.File, err error) {
			d.file, err = os.OpenFile(name, flag, mode) //nolint:gosec // the operator's directory
			return d.file, err
		},
	}
}

// prepare makes the bucket in a new file, and looks whether an old one has the
// length its own header tells. What lies beyond the end of a file cut short could
// not be read without a fault.
func prepare(db *bolt.DB) error {
	var isNew bool
	err := db.View(func(tx *bolt.Tx) error {
		info, err := os.Stat(db.Path())
		if err != nil {
			return err
		}
		if info.Size() < tx.Size() {
			return fmt.Errorf("%w: it has %d bytes of %d", errDamaged, info.Size(), tx.Size())
		}
		isNew = tx.Bucket(entriesBucket) == nil
		return nil
	})
	if err != nil || !isNew {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(entriesBucket)
		return err
	})
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(db.Path()))
}

// syncDir makes the name of a new file as durable as its content.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // a directory cannot be synced there
	}
	f, err := os.Open(dir) //nolint:gosec // the operator's directory
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// close closes the file. Over a damaged one bbolt may have panicked with its locks
// held; then it cannot be closed itself, and its map of the file is left behind.
func (d *durable) close() error {
	if d.damage.Load() != nil {
		return d.file.Close()
	}
	if err := d.db.Close(); err != nil {
		return fmt.Errorf("closing %s: %w", d.path, err)
	}
	return nil
}

func (d *durable) get(key string) (value []byte, found bool, err error) {
	err = d.read(func(bucket *bolt.Bucket) (err error) {
		value, found, err = readRecord(bucket, key, d.now())
		return err
	})
	return value, found, err
}

// list returns the first limit entries with prefix, in order of their keys, that
// come after the key named.
func (d *durable) list(prefix, after string, limit int) (items []store.Item, err error) {
	now := d.now()
	err = d.walk(prefix, after, func(key, record []byte) (more bool, err error) {
		value, expires, err := decodeRecord(record)
		if err != nil {
			return false, fmt.Errorf("%w: %w", errDamaged, err)
		}
		if !expired(expires, now) {
			items = append(items, store.Item{Key: string(key), Value: append([]byte{}, value...), TTL: ttlLeft(expires, now)})
		}
		return len(items) < limit, nil
	})
	return items, err
}

// walk calls fn for the records with prefix that come after the key named, in
// order, until it returns false. What fn is given is only valid within.
func (d *durable) walk(prefix, after string, fn func(key, record []byte) (more bool, err error)) error {
	return d.read(func(bucket *bolt.Bucket) error {
		cursor := bucket.Cursor()
		key, record := cursor.Seek([]byte(max(prefix, after)))
		if key != nil && string(key) == after {
			key, record = cursor.Next()
		}
		for ; key != nil && bytes.HasPrefix(key, []byte(prefix)); key, record = cursor.Next() {
			if more, err := fn(key, record); err != nil || !more {
				return err
			}
		}
		return nil
	})
}

func (d *durable) read(fn func(*bolt.Bucket) error) error {
	return d.transact("reading", func() error {
		return d.db.View(func(tx *bolt.Tx) error {
			return guard(func() error { return fn(tx.Bucket(entriesBucket)) })
		})
	})
}

// transact runs a transaction. Once the file has proved damaged it is not used
// any more: writing on could make things worse, and bbolt may have panicked with
// its locks held.
func (d *durable) transact(doing string, fn func() error) error {
	if damage := d.damage.Load(); damage != nil {
		return damage.err
	}
	err := guard(fn)
	failure := d.unavailable(doing, err)
	if errors.Is(err, errDamaged) {
		d.damage.CompareAndSwap(nil, newDamage(d.path, failure))
	}
	return failure
}

func (d *durable) ping(ctx context.Context) error {
	return d.write(ctx, func(r *records) error {
		r.changed = true
		return nil
	})
}

// sweep removes what has expired, in steps between which others read and write.
func (d *durable) sweep(ctx context.Context) error {
	for after, more := "", true; more; {
		keys, last, err := d.expiredAfter(after)
		if err != nil {
			return err
		}
		if err := d.removeExpired(ctx, keys); err != nil {
			return err
		}
		after, more = last, last != ""
	}
	return nil
}

// expiredAfter looks at the next sweepBatch records and returns the keys of those
// that have expired; last is where to go on, or empty at the end.
func (d *durable) expiredAfter(after string) (keys []string, last string, err error) {
	now, seen := d.now(), 0
	err = d.walk("", after, func(key, record []byte) (more bool, err error) {
		if _, expires, err := decodeRecord(record); err == nil && expired(expires, now) {
			keys = append(keys, string(key))
		}
		if seen++; seen == sweepBatch {
			last = string(key)
		}
		return seen < sweepBatch, nil
	})
	return keys, last, err
}

// removeExpired removes those of keys that are still expired: since they were
// read they may have been written anew.
func (d *durable) removeExpired(ctx context.Context, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	return d.write(ctx, func(r *records) error {
		for _, key := range keys {
			if _, found := r.get(key); !found {
				r.remove(key)
			}
		}
		return nil
	})
}
