// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/caddy-wechat/caddy-wechat/store"
)

var (
	errClosed  = fmt.Errorf("%w: the store is closed", store.ErrUnavailable)
	errDamaged = errors.New("the file is damaged")
)

// guard runs access. bbolt answers a damaged page with a panic, and memory that a
// file cut short no longer backs with a fault that would end the process; both
// become errors that wrap errDamaged.
func guard(access func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errDamaged, p)
		}
	}()
	return access()
}

// unavailable says what failed on which file, and what to do where that is known.
func (d *durable) unavailable(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bolterrors.ErrDatabaseNotOpen):
		return errClosed
	}
	if isDamage(err) {
		err = fmt.Errorf("%w; %s", err, adviceDamaged)
	}
	return fmt.Errorf("%w: %s %s: %w", store.ErrUnavailable, doing, d.path, err)
}

const (
	adviceDamaged = "it was left as it is; stop Caddy and restore a backup, or move the file away to begin with an empty store"
	adviceLocked  = "stop the other Caddy, or give each its own directory"
	adviceOther   = "check that the directory is one that the user who runs Caddy may write to, and that the disk has room"
)

// openError says why the file cannot be opened, and what to do about it.
func openError(path string, err error) error {
	advice := adviceOther
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		err = errors.New("another process has it open")
		advice = adviceLocked
	case isDamage(err):
		advice = adviceDamaged
	}
	return fmt.Errorf("%w: opening %s: %w; %s", store.ErrUnavailable, path, err, advice)
}

// damage remembers how a file was found damaged. It is not tried again before
// somebody has changed or replaced it: each try could leave another map of it
// behind in memory.
type damage struct {
	err  error
	info os.FileInfo // nil where even that could not be read
}

func newDamage(path string, err error) *damage {
	info, _ := os.Stat(path)
	return &damage{err: err, info: info}
}

// stands says whether the file is still the one that was found damaged.
func (d *damage) stands(path string) bool {
	info, err := os.Stat(path)
	return err == nil && d.info != nil && os.SameFile(info, d.info) &&
		info.Size() == d.info.Size() && info.ModTime().Equal(d.info.ModTime())
}

func isDamage(err error) bool {
	for _, damage := range []error{
		errDamaged, bolterrors.ErrInvalid, bolterrors.ErrChecksum,
		bolterrors.ErrVersionMismatch, bolterrors.ErrInvalidMapping,
	} {
		if errors.Is(err, damage) {
			return true
		}
	}
	return false
}
