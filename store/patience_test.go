// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Calls one after the other spend the patience of a request together; of calls at the
// same time only what the request waits counts.
func TestPatience(t *testing.T) {
	wait := func(p *Patience, d time.Duration) {
		p.Begin()
		defer p.End()
		time.Sleep(d) //nolint:forbidigo // in a bubble
	}
	for _, tt := range []struct {
		name string
		wait func(p *Patience)
		want time.Duration // left of a second
	}{
		{"none", func(*Patience) {}, time.Second},
		{"no call", func(*Patience) { time.Sleep(time.Minute) }, time.Second}, //nolint:forbidigo // in a bubble
		{"one after the other", func(p *Patience) {
			wait(p, 100*time.Millisecond)
			time.Sleep(time.Minute) //nolint:forbidigo // in a bubble
			wait(p, 200*time.Millisecond)
		}, 700 * time.Millisecond},
		{"at the same time", func(p *Patience) {
			var all sync.WaitGroup
			for i := range 16 {
				all.Go(func() { wait(p, time.Duration(i+1)*10*time.Millisecond) })
			}
			all.Wait()
		}, 840 * time.Millisecond},
		{"one within the other", func(p *Patience) {
			p.Begin()
			wait(p, 300*time.Millisecond)
			p.End()
		}, 700 * time.Millisecond},
		{"too long", func(p *Patience) { wait(p, time.Minute) }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := PatienceOf(WithPatience(t.Context(), time.Second))
				tt.wait(p)
				if got := p.Left(time.Hour); got != tt.want {
					t.Errorf("%v left, want %v", got, tt.want)
				}
				if got := p.Left(time.Nanosecond); got != min(tt.want, time.Nanosecond) {
					t.Errorf("%v left for a call of a nanosecond", got)
				}
			})
		})
	}
}

// While a call waits, what is left becomes less.
func TestPatience_Meanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := PatienceOf(WithPatience(t.Context(), time.Second))
		p.Begin()
		time.Sleep(400 * time.Millisecond) //nolint:forbidigo // in a bubble
		if got := p.Left(time.Hour); got != 600*time.Millisecond {
			t.Errorf("%v left", got)
		}
	})
}

func TestPatience_None(t *testing.T) {
	p := PatienceOf(t.Context())
	p.Begin()
	p.End()
	if got := p.Left(time.Minute); p != nil || got != time.Minute {
		t.Errorf("%v left of no patience", got)
	}
}
