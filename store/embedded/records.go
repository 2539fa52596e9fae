// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
)

// expiryLen is the length of what precedes a value in the file: the time it
// expires, in nanoseconds since 1970, big-endian; 0 is never.
const expiryLen = 8

var errShortRecord = errors.New("record shorter than its expiry")

// encodeRecord returns the file's form of a value.
func encodeRecord(value []byte, expires int64) []byte {
	record := make([]byte, expiryLen, expiryLen+len(value))
	binary.BigEndian.PutUint64(record, uint64(expires)) //nolint:gosec // bits, read back the same way
	return append(record, value...)
}

// decodeRecord splits a record; value is part of it, not a copy.
func decodeRecord(record []byte) (value []byte, expires int64, err error) {
	if len(record) < expiryLen {
		return nil, 0, errShortRecord
	}
	return record[expiryLen:], int64(binary.BigEndian.Uint64(record)), nil //nolint:gosec // see encodeRecord
}

// records is the view of the file within one write transaction. The first
// failure of the file is kept, and fails the whole transaction: what steps saw
// after it is no basis for a write.
type records struct {
	bucket  *bolt.Bucket
	now     time.Time
	changed bool
	err     error
}

func newRecords(tx *bolt.Tx, now time.Time) *records {
	r := &records{now: now}
	r.try(func() error {
		r.bucket = tx.Bucket(entriesBucket)
		return nil
	})
	return r
}

func (r *records) get(key string) (value []byte, found bool) {
	r.try(func() (err error) {
		value, found, err = readRecord(r.bucket, key, r.now)
		return err
	})
	return value, found
}

func (r *records) put(key string, value []byte, expires int64) error {
	r.changed = true
	r.try(func() error {
		return r.bucket.Put([]byte(key), encodeRecord(value, expires))
	})
	return r.err
}

func (r *records) remove(key string) {
	r.changed = true
	r.try(func() error {
		return r.bucket.Delete([]byte(key))
	})
}

// try does nothing once something has failed.
func (r *records) try(access func() error) {
	if r.err == nil {
		r.err = guard(access)
	}
}

// readRecord returns a copy of the value of key.
func readRecord(bucket *bolt.Bucket, key string, now time.Time) (value []byte, found bool, err error) {
	record := bucket.Get([]byte(key))
	if record == nil {
		return nil, false, nil
	}
	value, expires, err := decodeRecord(record)
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if expired(expires, now) {
		return nil, false, nil
	}
	return append([]byte{}, value...), true, nil
}
